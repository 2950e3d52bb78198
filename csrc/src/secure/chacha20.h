// The ChaCha20 key stream (RFC 8439), many blocks at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace edge {

inline constexpr std::size_t kChaChaKey = 32;
inline constexpr std::size_t kChaChaBlock = 64;

/// Key and nonce as the words of the state.
struct ChaChaKey {
  std::array<std::uint32_t, 8> key{};
  std::array<std::uint32_t, 3> nonce{};
};

/// @param key  32 bytes; the nonce is zero, which is right for a key that is used for one stream
ChaChaKey chacha20_key(const std::uint8_t* key);

enum class ChaChaLoop : std::uint8_t {
  kPortable,  ///< four blocks at a time: SSE2, NEON
  kAvx2,      ///< eight
  kAvx512,    ///< sixteen
};

/// Whether this processor and this build have the loop.
bool chacha20_has(ChaChaLoop loop) noexcept;

/// Writes whole blocks of the key stream.
/// @param counter  number of the first block
/// @param blocks   a multiple of 16; `counter + blocks` is at most 2^32
/// @param out      `[blocks * 64]`
using ChaChaStream = void (*)(const ChaChaKey& key, std::uint32_t counter, std::size_t blocks,
                              std::uint8_t* out);

/// The stream by a given loop, which this processor must have.
ChaChaStream chacha20_stream(ChaChaLoop loop) noexcept;

/// The stream by the widest loop that this processor has.
ChaChaStream chacha20_stream() noexcept;

/// Blocks are made in multiples of this.
inline constexpr std::size_t kChaChaStride = 16;

}  // namespace edge
