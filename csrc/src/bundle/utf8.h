// UTF-8: what is valid, how long it is, how a code point is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace edge {

/// Without overlong forms, surrogates, or code points above U+10FFFF (RFC 3629).
bool is_utf8(std::string_view bytes) noexcept;

/// Code points of valid UTF-8.
std::size_t count_characters(std::string_view utf8) noexcept;

/// Appends one code point that is not a surrogate, at most U+10FFFF.
void append_utf8(std::string& out, std::uint32_t code_point);

/// As Python's ascii() without its quotes: printable ASCII as it is, the rest of the bytes as \xNN.
std::string to_ascii(std::string_view bytes);

}  // namespace edge
