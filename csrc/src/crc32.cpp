// CRC-32 eight bytes at a time, from tables made at compile time.
#include "crc32.h"

#include <array>
#include <cstddef>

namespace edge {
namespace {

constexpr std::size_t kLanes = 8;
using Tables = std::array<std::array<std::uint32_t, 256>, kLanes>;

constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit)
      value = (value >> 1U) ^ ((value & 1U) != 0 ? 0xEDB88320U : 0U);
    tables[0][byte] = value;
  }
  for (std::size_t lane = 1; lane < kLanes; ++lane) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[lane - 1][byte];
      tables[lane][byte] = (before >> 8U) ^ tables[0][before & 0xFFU];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

std::uint32_t crc32(std::string_view bytes) noexcept {
  std::uint32_t crc = 0xFFFFFFFFU;
  std::size_t i = 0;
  const auto byte_at = [&](std::size_t at) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at]));
  };
  for (; i + kLanes <= bytes.size(); i += kLanes) {
    std::uint32_t next = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::uint32_t from_crc = lane < 4 ? (crc >> (8U * lane)) & 0xFFU : 0U;
      next ^= kTables[kLanes - 1 - lane][byte_at(i + lane) ^ from_crc];
    }
    crc = next;
  }
  for (; i < bytes.size(); ++i) crc = (crc >> 8U) ^ kTables[0][(crc ^ byte_at(i)) & 0xFFU];
  return ~crc;
}

}  // namespace edge
