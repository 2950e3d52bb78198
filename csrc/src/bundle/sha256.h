// SHA-256 (FIPS 180-4).
#pragma once

#include <string>
#include <string_view>

namespace edge {

/// The digest of `bytes`: 64 lower-case hex digits.
std::string sha256_hex(std::string_view bytes);

}  // namespace edge
