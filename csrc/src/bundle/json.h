// Strict JSON from untrusted bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edge {

/// One JSON value. `keys` and `items` of an object go in pairs, in the order of the text.
struct Json {
  enum class Kind : std::uint8_t { kNull, kBool, kInteger, kReal, kString, kList, kObject };

  Kind kind = Kind::kNull;
  bool truth = false;             ///< of a bool
  std::string text;               ///< of a string: UTF-8; of a number: as it was written
  std::vector<Json> items;        ///< of a list or an object
  std::vector<std::string> keys;  ///< of an object; distinct

  /// The value under `key`; null where there is none.
  const Json* find(std::string_view key) const noexcept;
};

inline constexpr int kMaxJsonDepth = 256;

/// Parses RFC 8259 JSON in UTF-8 without a byte order mark. Also refused: a key that stands twice
/// in an object, a lone surrogate, a fraction or exponent beyond float64, an integer of more than
/// 4300 digits, more than kMaxJsonDepth levels.
/// @param file  names the text in messages
/// @throws Error  kBadBundle "<file> is not strict JSON: <what> at line <n>"
Json parse_json(std::string_view file, std::string_view text);

/// The value of a number's text, infinite where it is beyond float64. Does not depend on the
/// locale.
double json_number(std::string_view text);

}  // namespace edge
