// Checks of JSON values; the same as those of edge_sdk/strict_json.py.
#include "bundle/place.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "bundle/utf8.h"
#include "edge/error.h"

namespace edge {
namespace {

constexpr std::size_t kMaxRank = 8;
constexpr std::size_t kMaxKeys = 4096;
constexpr std::size_t kMaxNameLength = 128;
constexpr std::size_t kShownKey = 64;

std::string shown(std::string_view key) {
  const bool is_long = key.size() > kShownKey;
  return "'" + to_ascii(key.substr(0, kShownKey)) + (is_long ? "...'" : "'");
}

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

void Place::refuse(const std::string& reason) const {
  throw Error(ErrorCode::kBadBundle,
              std::string(file_) + ": " + (path_.empty() ? "the top level" : path_) + " " + reason);
}

Place Place::look(std::string_view key) const {
  if (value_->kind != Json::Kind::kObject) refuse("must be an object");
  const Json* found = value_->find(key);
  if (found == nullptr) refuse("lacks the key " + shown(key));
  return at((path_.empty() ? "" : ".") + std::string(key), *found);
}

std::optional<Place> Place::find(std::string_view key) const {
  if (value_->kind != Json::Kind::kObject || value_->find(key) == nullptr) return std::nullopt;
  return look(key);
}

void Place::check_keys(std::initializer_list<std::string_view> keys,
                       std::initializer_list<std::string_view> optional) const {
  const auto is_in = [](std::initializer_list<std::string_view> some, std::string_view key) {
    return std::find(some.begin(), some.end(), key) != some.end();
  };
  for (const std::string_view key : keys) look(key);
  for (const std::string& key : value_->keys) {
    if (!is_in(keys, key) && !is_in(optional, key)) refuse("has the unknown key " + shown(key));
  }
}

std::vector<Place> Place::mapping() const {
  if (value_->kind != Json::Kind::kObject) refuse("must be an object");
  if (value_->keys.size() > kMaxKeys) {
    refuse("must have at most " + std::to_string(kMaxKeys) + " keys");
  }
  std::vector<Place> places;
  for (std::size_t i = 0; i < value_->keys.size(); ++i) {
    const std::size_t length = count_characters(value_->keys[i]);
    if (length < 1 || length > kMaxNameLength) refuse("must have keys of 1..128 characters");
    places.push_back(at("[" + shown(value_->keys[i]) + "]", value_->items[i]));
  }
  return places;
}

std::vector<Place> Place::sequence(std::size_t longest) const {
  if (value_->kind != Json::Kind::kList || value_->items.size() > longest) {
    refuse("must be a list of at most " + std::to_string(longest) + " items");
  }
  std::vector<Place> places;
  for (std::size_t i = 0; i < value_->items.size(); ++i) {
    places.push_back(at("[" + std::to_string(i) + "]", value_->items[i]));
  }
  return places;
}

std::int64_t Place::integer(std::int64_t smallest, std::int64_t largest) const {
  std::int64_t number = 0;
  const char* const end = value_->text.data() + value_->text.size();
  const bool fits = value_->kind == Json::Kind::kInteger &&
                    std::from_chars(value_->text.data(), end, number).ec == std::errc();
  if (!fits || number < smallest || number > largest) {
    refuse("must be an integer in " + std::to_string(smallest) + ".." + std::to_string(largest));
  }
  return number;
}

void Place::check_number() const {
  const bool is_number = value_->kind == Json::Kind::kInteger || value_->kind == Json::Kind::kReal;
  if (!is_number || !(std::fabs(json_number(value_->text)) <= 1e300)) {
    refuse("must be a finite number");
  }
}

double Place::number() const {
  check_number();
  return json_number(value_->text);
}

bool Place::boolean() const {
  if (value_->kind != Json::Kind::kBool) refuse("must be true or false");
  return value_->truth;
}

void Place::check_date() const {
  const std::string& day = text(10, 10);
  const auto digits = [&](std::size_t from, std::size_t count) {
    int value = 0;
    for (std::size_t i = from; i < from + count; ++i) {
      if (day[i] < '0' || day[i] > '9') refuse("must be a date YYYY-MM-DD");
      value = value * 10 + (day[i] - '0');
    }
    return value;
  };
  if (day.size() != 10 || day[4] != '-' || day[7] != '-') refuse("must be a date YYYY-MM-DD");
  const int year = digits(0, 4);
  const int month = digits(5, 2);
  const int date = digits(8, 2);
  constexpr std::array<int, 12> kDays = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (year < 1 || month < 1 || month > 12 || date < 1) refuse("must be a date YYYY-MM-DD");
  const bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  const int last = kDays.at(static_cast<std::size_t>(month - 1)) + (month == 2 && is_leap ? 1 : 0);
  if (date > last) refuse("must be a date YYYY-MM-DD");
}

const std::string& Place::text(std::size_t shortest, std::size_t longest) const {
  const std::size_t length = count_characters(value_->text);
  if (value_->kind != Json::Kind::kString || length < shortest || length > longest) {
    refuse("must be a string of " + std::to_string(shortest) + ".." + std::to_string(longest) +
           " characters");
  }
  return value_->text;
}

const std::string& Place::name(std::string_view more, bool (*starts)(char)) const {
  const std::string& text = value_->text;
  const bool fits = value_->kind == Json::Kind::kString && !text.empty() &&
                    text.size() <= kMaxNameLength && starts(text.front()) &&
                    std::all_of(text.begin(), text.end(), [&](char c) {
                      return is_alphanumeric(c) || more.find(c) != std::string_view::npos;
                    });
  if (!fits) {
    refuse("must be a string of 1..128 letters, digits and any of " + std::string(more));
  }
  return text;
}

const std::string& Place::hex_digest() const {
  const std::string& text = value_->text;
  constexpr std::string_view kHex = "0123456789abcdef";
  const bool fits = value_->kind == Json::Kind::kString && text.size() == 64 &&
                    text.find_first_not_of(kHex) == std::string::npos;
  if (!fits) refuse("must be 64 lower-case hex digits");
  return text;
}

const std::string& Place::choice(std::initializer_list<std::string_view> allowed) const {
  const bool fits = value_->kind == Json::Kind::kString &&
                    std::find(allowed.begin(), allowed.end(), value_->text) != allowed.end();
  if (!fits) {
    std::string names;
    for (const std::string_view name : allowed) {
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
    refuse("must be one of " + names);
  }
  return value_->text;
}

Shape Place::shape(std::size_t shortest, std::int64_t max_elements) const {
  Shape sizes;
  for (const Place& axis : sequence(kMaxRank)) sizes.push_back(axis.integer(1, max_elements));
  std::int64_t count = 1;
  bool fits = sizes.size() >= shortest;
  for (const std::int64_t size : sizes) {
    fits = fits && size <= max_elements / count;
    if (fits) count *= size;
  }
  if (!fits) {
    refuse("must have at least " + std::to_string(shortest) + " axes and at most " +
           std::to_string(max_elements) + " numbers");
  }
  return sizes;
}

}  // namespace edge
