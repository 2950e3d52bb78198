// CRC-32 (IEEE 802.3, as in zlib and PNG).
#pragma once

#include <cstdint>
#include <string_view>

namespace edge {

std::uint32_t crc32(std::string_view bytes) noexcept;

}  // namespace edge
