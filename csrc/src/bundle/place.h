// A JSON value and where it stands; each check passes or names the place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/json.h"
#include "edge/tensor.h"

namespace edge {

class Place {
 public:
  Place(std::string_view file, std::string path, const Json& value)
      : file_(file), path_(std::move(path)), value_(&value) {}

  /// @throws Error  kBadBundle "<file>: <place> <reason>"; so does every check below
  [[noreturn]] void refuse(const std::string& reason) const;

  bool is_null() const noexcept { return value_->kind == Json::Kind::kNull; }

  /// The value under `key` of an object.
  Place look(std::string_view key) const;

  /// The value under `key` of an object, where there is one.
  std::optional<Place> find(std::string_view key) const;

  /// Checks for an object with exactly these keys; those of `optional` may be absent.
  void check_keys(std::initializer_list<std::string_view> keys,
                  std::initializer_list<std::string_view> optional = {}) const;

  /// The values of an object with any keys of 1 to 128 characters, at most 4096; `keys()` in order.
  std::vector<Place> mapping() const;
  const std::vector<std::string>& keys() const noexcept { return value_->keys; }

  /// The items of a list.
  std::vector<Place> sequence(std::size_t longest) const;

  std::int64_t integer(std::int64_t smallest, std::int64_t largest) const;
  /// Checks for an integer or real of at most 1e300.
  void check_number() const;
  double number() const;
  bool boolean() const;
  /// Checks for a day of the calendar, `YYYY-MM-DD`.
  void check_date() const;
  /// A string whose length in characters is in a range.
  const std::string& text(std::size_t shortest, std::size_t longest) const;
  /// A string of 1 to 128 of `[A-Za-z0-9]` and `more`; the first one must pass `starts`.
  const std::string& name(std::string_view more, bool (*starts)(char)) const;
  /// 64 lower-case hex digits.
  const std::string& hex_digest() const;
  const std::string& choice(std::initializer_list<std::string_view> allowed) const;
  /// A list of positive sizes whose product is at most `max_elements`.
  Shape shape(std::size_t shortest, std::int64_t max_elements) const;

 private:
  Place at(const std::string& suffix, const Json& value) const {
    return {file_, path_ + suffix, value};
  }

  std::string_view file_;
  std::string path_;
  const Json* value_;
};

}  // namespace edge
