// Strict JSON: a recursive descent with bounded depth that reads each byte once.
#include "bundle/json.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <unordered_set>
#include <utility>

#include "bundle/utf8.h"
#include "edge/error.h"

namespace edge {
namespace {

constexpr std::size_t kMaxIntegerDigits = 4300;
constexpr std::string_view kDigits = "0123456789";

class Parser {
 public:
  Parser(std::string_view file, std::string_view text) : file_(file), text_(text) {}

  Json document() {
    Json json = value(1);
    skip_space();
    if (at_ != text_.size()) refuse("there is more after the value");
    return json;
  }

 private:
  [[noreturn]] void refuse(const char* what) const {
    const auto line =
        1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n');
    throw Error(ErrorCode::kBadBundle, std::string(file_) + " is not strict JSON: " + what +
                                           " at line " + std::to_string(line));
  }

  bool done() const { return at_ == text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }

  bool accept(char wanted) {
    if (done() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  void skip_space() {
    while (!done() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  // NOLINTNEXTLINE(misc-no-recursion): the depth is bounded
  Json value(int depth) {
    if (depth > kMaxJsonDepth) refuse("nested too deep");
    skip_space();
    Json json;
    switch (peek()) {
      case '{':
        read_object(json, depth);
        break;
      case '[':
        read_list(json, depth);
        break;
      case '"':
        json.kind = Json::Kind::kString;
        json.text = string();
        break;
      case 't':
        json.truth = true;
        [[fallthrough]];
      case 'f':
        json.kind = Json::Kind::kBool;
        literal(json.truth ? "true" : "false");
        break;
      case 'n':
        literal("null");
        break;
      default:
        read_number(json);
    }
    return json;
  }

  void literal(std::string_view wanted) {
    if (text_.substr(at_, wanted.size()) != wanted) refuse("a value is expected");
    at_ += wanted.size();
  }

  // NOLINTNEXTLINE(misc-no-recursion)
  void read_object(Json& json, int depth) {
    json.kind = Json::Kind::kObject;
    ++at_;
    skip_space();
    if (accept('}')) return;
    do {
      skip_space();
      if (peek() != '"') refuse("a key is expected");
      json.keys.push_back(string());
      skip_space();
      if (!accept(':')) refuse("':' is expected");
      json.items.push_back(value(depth + 1));
      skip_space();
    } while (accept(','));
    if (!accept('}')) refuse("',' or '}' is expected");
    std::unordered_set<std::string_view> seen;
    for (const std::string& key : json.keys) {
      if (!seen.insert(key).second) refuse("an object has the same key twice");
    }
  }

  // NOLINTNEXTLINE(misc-no-recursion)
  void read_list(Json& json, int depth) {
    json.kind = Json::Kind::kList;
    ++at_;
    skip_space();
    if (accept(']')) return;
    do {
      json.items.push_back(value(depth + 1));
      skip_space();
    } while (accept(','));
    if (!accept(']')) refuse("',' or ']' is expected");
  }

  void digits() {
    const std::size_t start = at_;
    while (!done() && kDigits.find(text_[at_]) != std::string_view::npos) ++at_;
    if (at_ == start) refuse("a value is expected");
  }

  void read_number(Json& json) {
    json.kind = Json::Kind::kInteger;
    const std::size_t start = at_;
    accept('-');
    const std::size_t first_digit = at_;
    if (!accept('0')) digits();
    const std::size_t num_digits = at_ - first_digit;
    if (accept('.')) {
      json.kind = Json::Kind::kReal;
      digits();
    }
    if (accept('e') || accept('E')) {
      json.kind = Json::Kind::kReal;
      if (!accept('-')) accept('+');
      digits();
    }
    json.text = std::string(text_.substr(start, at_ - start));
    if (json.kind == Json::Kind::kInteger) {
      if (num_digits > kMaxIntegerDigits) refuse("an integer is too long");
    } else if (!std::isfinite(json_number(json.text))) {
      refuse("a number is too large");
    }
  }

  std::string string() {
    std::string out;
    ++at_;
    for (;;) {
      const std::size_t start = at_;
      while (!done() && text_[at_] != '"' && text_[at_] != '\\' &&
             static_cast<unsigned char>(text_[at_]) >= 0x20U) {
        ++at_;
      }
      out += text_.substr(start, at_ - start);
      if (accept('"')) return out;
      if (!accept('\\')) refuse(done() ? "a string does not end" : "a control character");
      escape(out);
    }
  }

  void escape(std::string& out) {
    constexpr std::string_view kNames = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    const char name = peek();
    if (name == 'u') {
      ++at_;
      unicode_escape(out);
      return;
    }
    const std::size_t which = kNames.find(name);
    if (done() || which == std::string_view::npos) refuse("an escape is not known");
    ++at_;
    out += kMeanings[which];
  }

  void unicode_escape(std::string& out) {
    const std::uint32_t unit = four_hex_digits();
    if (unit < 0xD800U || unit > 0xDFFFU) {
      append_utf8(out, unit);
      return;
    }
    if (unit > 0xDBFFU || text_.substr(at_, 2) != "\\u") refuse("a lone surrogate");
    at_ += 2;
    const std::uint32_t low = four_hex_digits();
    if (low < 0xDC00U || low > 0xDFFFU) refuse("a lone surrogate");
    append_utf8(out, 0x10000U + ((unit - 0xD800U) << 10U) + (low - 0xDC00U));
  }

  std::uint32_t four_hex_digits() {
    std::uint32_t unit = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = peek();
      std::uint32_t digit = 16;
      if (c >= '0' && c <= '9') digit = static_cast<std::uint32_t>(c - '0');
      if (c >= 'a' && c <= 'f') digit = static_cast<std::uint32_t>(c - 'a') + 10U;
      if (c >= 'A' && c <= 'F') digit = static_cast<std::uint32_t>(c - 'A') + 10U;
      if (done() || digit > 15U) refuse("\\u needs four hex digits");
      unit = (unit << 4U) | digit;
      ++at_;
    }
    return unit;
  }

  std::string_view file_;
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

const Json* Json::find(std::string_view key) const noexcept {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] == key) return &items[i];
  }
  return nullptr;
}

Json parse_json(std::string_view file, std::string_view text) {
  if (!is_utf8(text)) {
    throw Error(ErrorCode::kBadBundle,
                std::string(file) + " is not strict JSON: a byte is not valid UTF-8");
  }
  return Parser(file, text).document();
}

double json_number(std::string_view text) {
  // strtod's decimal point follows the locale, so it is given none: 1.25e3 is read as 125e1.
  const std::size_t mantissa_end = std::min(text.find_first_of("eE"), text.size());
  std::string digits;
  long long exponent = 0;
  bool in_fraction = false;
  for (const char c : text.substr(0, mantissa_end)) {
    if (c == '.') {
      in_fraction = true;
      continue;
    }
    digits += c;
    if (in_fraction) --exponent;
  }
  if (mantissa_end < text.size()) {
    // Clamped far beyond what any mantissa in a manifest could bring back into range.
    constexpr long long kFar = 1LL << 40U;
    const std::string written(text.substr(mantissa_end + 1));
    exponent += std::clamp(std::strtoll(written.c_str(), nullptr, 10), -kFar, kFar);
  }
  return std::strtod((digits + "e" + std::to_string(exponent)).c_str(), nullptr);
}

}  // namespace edge
