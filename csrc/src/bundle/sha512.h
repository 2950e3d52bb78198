// SHA-512 (FIPS 180-4), for signatures.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace edge {

/// The digest of the parts, one after the other: 64 bytes.
std::array<std::uint8_t, 64> sha512(std::initializer_list<std::string_view> parts);

}  // namespace edge
