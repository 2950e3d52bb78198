// Goes over the vector in tiles that stay in the first cache while every seed's mask is applied.
#include "edge/mask.h"

#include <algorithm>
#include <cstring>

#include "edge/error.h"
#include "secure/chacha20.h"

namespace edge {
namespace {

constexpr std::size_t kTileBlocks = 64;
constexpr std::size_t kTileBytes = kTileBlocks * kChaChaBlock;
constexpr std::uint64_t kStreamBytes = (std::uint64_t{1} << 32U) * kChaChaBlock;

std::vector<ChaChaKey> keys_of(const std::vector<MaskSeed>& seeds) {
  std::vector<ChaChaKey> keys;
  keys.reserve(seeds.size());
  for (const MaskSeed& seed : seeds) keys.push_back(chacha20_key(seed.data()));
  return keys;
}

}  // namespace

template <typename Word>
void apply_masks(Word* values, std::size_t count, const std::vector<MaskSeed>& add,
                 const std::vector<MaskSeed>& subtract) {
  if (count > kStreamBytes / sizeof(Word)) {
    throw Error(ErrorCode::kInvalidOption, "a masked vector must have at most 256 GiB");
  }
  const std::vector<ChaChaKey> plus = keys_of(add);
  const std::vector<ChaChaKey> minus = keys_of(subtract);
  const ChaChaStream stream = chacha20_stream();
  constexpr std::size_t tile = kTileBytes / sizeof(Word);
  std::vector<std::uint8_t> bytes(kTileBytes);
  std::vector<Word> words(tile);
  for (std::size_t first = 0; first < count; first += tile) {
    const std::size_t here = std::min(tile, count - first);
    const std::size_t whole = ((here * sizeof(Word)) + kChaChaBlock - 1) / kChaChaBlock;
    const std::size_t blocks = (whole + kChaChaStride - 1) / kChaChaStride * kChaChaStride;
    const auto counter = static_cast<std::uint32_t>(first * sizeof(Word) / kChaChaBlock);
    Word* const target = values + first;
    const auto expand = [&](const ChaChaKey& key) {
      stream(key, counter, blocks, bytes.data());
      std::memcpy(words.data(), bytes.data(), here * sizeof(Word));
    };
    for (const ChaChaKey& key : plus) {
      expand(key);
      for (std::size_t i = 0; i < here; ++i) target[i] = static_cast<Word>(target[i] + words[i]);
    }
    for (const ChaChaKey& key : minus) {
      expand(key);
      for (std::size_t i = 0; i < here; ++i) target[i] = static_cast<Word>(target[i] - words[i]);
    }
  }
}

template void apply_masks(std::uint16_t*, std::size_t, const std::vector<MaskSeed>&,
                          const std::vector<MaskSeed>&);
template void apply_masks(std::uint32_t*, std::size_t, const std::vector<MaskSeed>&,
                          const std::vector<MaskSeed>&);
template void apply_masks(std::uint64_t*, std::size_t, const std::vector<MaskSeed>&,
                          const std::vector<MaskSeed>&);

}  // namespace edge
