// What the fuzz targets share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "crc32.h"
#include "edge/error.h"

namespace edge::fuzz {

inline std::string_view view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// The fuzzer cannot guess a checksum, so it is put under what it made.
inline std::string sealed(std::string_view body) {
  std::string bytes(body);
  const std::uint32_t crc = crc32(body);
  return bytes.append(reinterpret_cast<const char*>(&crc), sizeof crc);
}

/// Runs `parse`, which may only throw Error of this code: anything else ends the process.
template <typename Parse>
void only(ErrorCode code, const Parse& parse) {
  try {
    parse();
  } catch (const Error& error) {
    if (error.code() != code) std::abort();
  }
}

inline void require(bool ok) {
  if (!ok) std::abort();
}

}  // namespace edge::fuzz
