// Masks: what one side adds the other takes away, for every width and length.
#include "edge/mask.h"

#include <cstring>

#include "secure/chacha20.h"
#include "test.h"

namespace edge {
namespace {

MaskSeed seed_of(std::uint8_t value) {
  MaskSeed seed{};
  seed.fill(value);
  return seed;
}

template <typename Word>
std::vector<Word> counting(std::size_t count) {
  std::vector<Word> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<Word>(i * 0x9E3779B97F4A7C15U);
  return values;
}

template <typename Word>
void check_width() {
  constexpr std::size_t tile = 4096 / sizeof(Word);
  for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{31}, tile - 1, tile,
                                  tile + 1, (3 * tile) + 5}) {
    const std::vector<Word> plain = counting<Word>(count);
    std::vector<Word> masked = plain;
    apply_masks(masked.data(), count, {seed_of(1), seed_of(2)}, {seed_of(3)});
    CHECK((masked != plain) == (count != 0));
    apply_masks(masked.data(), count, {seed_of(3)}, {seed_of(2), seed_of(1)});
    CHECK(masked == plain);
  }
}

TEST(masks_cancel) {
  check_width<std::uint16_t>();
  check_width<std::uint32_t>();
  check_width<std::uint64_t>();
}

TEST(a_mask_is_the_stream_from_block_0) {
  constexpr std::size_t count = 2500;  // three tiles
  std::vector<std::uint32_t> masked(count);
  apply_masks(masked.data(), count, {seed_of(9)}, {});
  std::vector<std::uint8_t> stream(160 * kChaChaBlock);
  chacha20_stream(ChaChaLoop::kPortable)(chacha20_key(seed_of(9).data()), 0, 160, stream.data());
  CHECK(std::memcmp(masked.data(), stream.data(), count * sizeof(std::uint32_t)) == 0);
}

TEST(refuses_more_than_one_stream_can_mask) {
  std::uint16_t none = 0;
  CHECK_THROWS(kInvalidOption, "256 GiB",
               apply_masks(&none, (std::size_t{1} << 37U) + 1, {seed_of(1)}, {}));
}

}  // namespace
}  // namespace edge
