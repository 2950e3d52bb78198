// Little-endian numbers in byte strings: for the formats that a device stores.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

#include "edge/error.h"

// Every platform this is built for is little-endian; a big-endian one needs byte swaps below.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
static_assert(sizeof(float) == 4);

namespace edge {

template <typename T>
void put(std::string& out, T value) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  out.append(raw, sizeof value);
}

/// Reads from the front of a byte string; never past its end.
class ByteReader {
 public:
  /// @param what  begins messages, as "state bytes"
  ByteReader(std::string_view rest, const char* what) : rest_(rest), what_(what) {}

  /// @throws Error  kBadState if fewer than `count` bytes are left
  std::string_view take(std::size_t count) {
    if (count > rest_.size()) {
      throw Error(ErrorCode::kBadState, std::string(what_) + " end too early");
    }
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  template <typename T>
  T number() {
    T value{};
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  std::size_t left() const { return rest_.size(); }

 private:
  std::string_view rest_;
  const char* what_;
};

}  // namespace edge
