// ChaCha20 with one block in each lane of a vector; names as in RFC 8439, section 2.
#include "secure/chacha20.h"

#include <cstring>

namespace edge {
namespace {

#define EDGE_INLINE inline __attribute__((always_inline))

template <std::size_t lanes>
struct Width;
template <>
struct Width<4> {
  using Words = std::uint32_t __attribute__((vector_size(16)));
};
template <>
struct Width<8> {
  using Words = std::uint32_t __attribute__((vector_size(32)));
};
template <>
struct Width<16> {
  using Words = std::uint32_t __attribute__((vector_size(64)));
};

constexpr std::size_t kWords = 16;
constexpr int kDoubleRounds = 10;
constexpr std::array<std::uint32_t, 4> kConstants = {0x61707865, 0x3320646e, 0x79622d32,
                                                     0x6b206574};

// Vectors go by reference: by value, their calling convention would depend on the instruction set.
template <int bits, typename Words>
EDGE_INLINE void add_mix(Words& sum, const Words& term, Words& mixed) {
  sum += term;
  mixed ^= sum;
  mixed = (mixed << bits) | (mixed >> (32 - bits));
}

template <typename Words>
EDGE_INLINE void quarter_round(Words& a, Words& b, Words& c, Words& d) {
  add_mix<16>(a, b, d);
  add_mix<12>(c, d, b);
  add_mix<8>(a, b, d);
  add_mix<7>(c, d, b);
}

template <std::size_t lanes>
EDGE_INLINE void stream(const ChaChaKey& key, std::uint32_t counter, std::size_t blocks,
                        std::uint8_t* out) {
  using Words = typename Width<lanes>::Words;
  Words start[kWords];
  for (std::size_t w = 0; w < 4; ++w) start[w] = Words{} + kConstants[w];
  for (std::size_t w = 0; w < 8; ++w) start[4 + w] = Words{} + key.key[w];
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    start[12][lane] = counter + static_cast<std::uint32_t>(lane);
  }
  for (std::size_t w = 0; w < 3; ++w) start[13 + w] = Words{} + key.nonce[w];

  for (std::size_t block = 0; block < blocks; block += lanes) {
    Words x[kWords];
    for (std::size_t w = 0; w < kWords; ++w) x[w] = start[w];
    for (int i = 0; i < kDoubleRounds; ++i) {
      quarter_round(x[0], x[4], x[8], x[12]);
      quarter_round(x[1], x[5], x[9], x[13]);
      quarter_round(x[2], x[6], x[10], x[14]);
      quarter_round(x[3], x[7], x[11], x[15]);
      quarter_round(x[0], x[5], x[10], x[15]);
      quarter_round(x[1], x[6], x[11], x[12]);
      quarter_round(x[2], x[7], x[8], x[13]);
      quarter_round(x[3], x[4], x[9], x[14]);
    }
    for (std::size_t w = 0; w < kWords; ++w) x[w] += start[w];
    std::uint32_t words[lanes * kWords];  // block after block
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      for (std::size_t w = 0; w < kWords; ++w) words[(lane * kWords) + w] = x[w][lane];
    }
    std::memcpy(out + (block * kChaChaBlock), words, sizeof words);
    start[12] += static_cast<std::uint32_t>(lanes);
  }
}

void portable_stream(const ChaChaKey& key, std::uint32_t counter, std::size_t blocks,
                     std::uint8_t* out) {
  stream<4>(key, counter, blocks, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void avx2_stream(const ChaChaKey& key, std::uint32_t counter,
                                                 std::size_t blocks, std::uint8_t* out) {
  stream<8>(key, counter, blocks, out);
}

__attribute__((target("avx512f"))) void avx512_stream(const ChaChaKey& key, std::uint32_t counter,
                                                      std::size_t blocks, std::uint8_t* out) {
  stream<16>(key, counter, blocks, out);
}
#endif

}  // namespace

ChaChaKey chacha20_key(const std::uint8_t* key) {
  ChaChaKey words;
  std::memcpy(words.key.data(), key, kChaChaKey);  // little-endian, as bytes.h asserts
  return words;
}

bool chacha20_has(ChaChaLoop loop) noexcept {
#if defined(__x86_64__)
  if (loop == ChaChaLoop::kAvx2) return __builtin_cpu_supports("avx2") != 0;
  if (loop == ChaChaLoop::kAvx512) return __builtin_cpu_supports("avx512f") != 0;
#endif
  return loop == ChaChaLoop::kPortable;
}

ChaChaStream chacha20_stream(ChaChaLoop loop) noexcept {
#if defined(__x86_64__)
  if (loop == ChaChaLoop::kAvx2) return avx2_stream;
  if (loop == ChaChaLoop::kAvx512) return avx512_stream;
#endif
  static_cast<void>(loop);
  return portable_stream;
}

ChaChaStream chacha20_stream() noexcept {
  for (const ChaChaLoop loop : {ChaChaLoop::kAvx512, ChaChaLoop::kAvx2}) {
    if (chacha20_has(loop)) return chacha20_stream(loop);
  }
  return portable_stream;
}

}  // namespace edge
