// ChaCha20: the vectors of RFC 8439, and every loop gives the same stream.
#include "secure/chacha20.h"

#include <cstring>
#include <string>
#include <vector>

#include "test.h"

namespace edge {
namespace {

constexpr ChaChaLoop kLoops[] = {ChaChaLoop::kPortable, ChaChaLoop::kAvx2, ChaChaLoop::kAvx512};

std::string hex(const std::uint8_t* data, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    constexpr const char* digits = "0123456789abcdef";
    text += digits[data[i] >> 4U];
    text += digits[data[i] & 15U];
  }
  return text;
}

// One block of the stream; the loops make more of them.
std::string block(const ChaChaKey& key, std::uint32_t counter, ChaChaLoop loop) {
  std::vector<std::uint8_t> out(kChaChaStride * kChaChaBlock);
  chacha20_stream(loop)(key, counter, kChaChaStride, out.data());
  return hex(out.data(), kChaChaBlock);
}

ChaChaKey key_with(std::uint8_t last, bool counting, std::array<std::uint8_t, 12> nonce = {}) {
  std::uint8_t raw[kChaChaKey] = {};
  for (std::size_t i = 0; i < kChaChaKey && counting; ++i) raw[i] = static_cast<std::uint8_t>(i);
  if (!counting) raw[kChaChaKey - 1] = last;
  ChaChaKey key = chacha20_key(raw);
  std::memcpy(key.nonce.data(), nonce.data(), nonce.size());
  return key;
}

TEST(gives_the_streams_of_the_standard) {
  for (const ChaChaLoop loop : kLoops) {
    if (!chacha20_has(loop)) continue;
    // Section 2.3.2.
    CHECK(block(key_with(0, true, {0, 0, 0, 9, 0, 0, 0, 0x4a}), 1, loop) ==
          "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
          "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e");
    // Appendix A.1, vectors 1, 2, 3 and 5.
    CHECK(block(key_with(0, false), 0, loop) ==
          "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
          "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586");
    CHECK(block(key_with(0, false), 1, loop) ==
          "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
          "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f");
    CHECK(block(key_with(1, false), 1, loop) ==
          "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
          "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0");
    CHECK(block(key_with(0, false, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}), 0, loop) ==
          "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
          "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d");
  }
}

TEST(every_loop_gives_the_same_stream) {
  const ChaChaKey key = key_with(0, true, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  constexpr std::size_t blocks = 5 * kChaChaStride;
  // The last blocks that there are: the counter must not wrap inside of a vector.
  for (const std::uint32_t counter :
       {0U, 7U, 0xFFFFFFFFU - static_cast<std::uint32_t>(blocks) + 1}) {
    std::vector<std::uint8_t> want(blocks * kChaChaBlock);
    for (std::size_t i = 0; i < blocks; i += kChaChaStride) {
      chacha20_stream(ChaChaLoop::kPortable)(key, counter + static_cast<std::uint32_t>(i),
                                             kChaChaStride, &want[i * kChaChaBlock]);
    }
    for (const ChaChaLoop loop : kLoops) {
      if (!chacha20_has(loop)) continue;
      std::vector<std::uint8_t> got(want.size());
      chacha20_stream(loop)(key, counter, blocks, got.data());
      CHECK(got == want);
    }
    std::vector<std::uint8_t> widest(want.size());
    chacha20_stream()(key, counter, blocks, widest.data());
    CHECK(widest == want);
  }
}

}  // namespace
}  // namespace edge
