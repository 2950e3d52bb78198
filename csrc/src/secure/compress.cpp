// Rounding, rotating and picking entries; randomness comes from a ChaCha20 stream.
#include "edge/compress.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "edge/error.h"
#include "edge/tensor.h"
#include "secure/chacha20.h"

namespace edge {
namespace {

// Random words, 4 KiB at a time.
class RandomWords {
 public:
  explicit RandomWords(const RandomSeed& seed) : key_(chacha20_key(seed.data())) {}

  std::uint32_t next() {
    if (at_ == kCount) {
      stream_(key_, counter_, kBlocks, bytes_.data());
      std::memcpy(words_.data(), bytes_.data(), bytes_.size());
      counter_ += kBlocks;
      at_ = 0;
    }
    return words_[at_++];
  }

 private:
  static constexpr std::size_t kBlocks = 64;
  static constexpr std::size_t kCount = kBlocks * kChaChaBlock / sizeof(std::uint32_t);

  ChaChaKey key_;
  ChaChaStream stream_ = chacha20_stream();
  std::uint32_t counter_ = 0;
  std::size_t at_ = kCount;
  std::array<std::uint8_t, kBlocks * kChaChaBlock> bytes_{};
  std::array<std::uint32_t, kCount> words_{};
};

void require_finite(const float* values, std::size_t count) {
  if (!all_finite(values, count)) throw Error(ErrorCode::kNonFinite, "values hold NaN or infinity");
}

std::size_t largest_power(std::size_t count) {
  std::size_t power = 1;
  while (power <= count / 2) power *= 2;
  return power;
}

// The orthonormal Walsh-Hadamard transform of `count` = 2^k values; it is its own inverse.
void transform(float* values, std::size_t count) {
  for (std::size_t half = 1; half < count; half *= 2) {
    for (std::size_t first = 0; first < count; first += 2 * half) {
      float* const low = values + first;
      float* const high = low + half;
      for (std::size_t i = 0; i < half; ++i) {
        const float sum = low[i] + high[i];
        high[i] = low[i] - high[i];
        low[i] = sum;
      }
    }
  }
  const float scale = 1.0F / std::sqrt(static_cast<float>(count));
  for (std::size_t i = 0; i < count; ++i) values[i] *= scale;
}

void flip_signs(float* values, std::size_t count, RandomWords& words) {
  for (std::size_t i = 0; i < count;) {
    std::uint32_t bits = words.next();
    for (const std::size_t end = std::min(count, i + 32); i < end; ++i, bits >>= 1U) {
      if ((bits & 1U) != 0) values[i] = -values[i];
    }
  }
}

}  // namespace

void round_to_grid(const float* values, std::size_t count, const Grid& grid, const RandomSeed& seed,
                   std::int32_t* out, float* residual) {
  if (!(std::isfinite(grid.step) && grid.step > 0) || grid.limit < 1) {
    throw Error(ErrorCode::kInvalidOption,
                "a grid's step must be finite and > 0, and its limit >= 1");
  }
  require_finite(values, count);
  constexpr double unit = 1.0 / 4294967296.0;  // 2^-32
  const double limit = grid.limit;
  RandomWords words(seed);
  for (std::size_t i = 0; i < count; ++i) {
    const double value = values[i];
    // Cut off one step further out first: there, rounding down is still rounding to the limit.
    const double steps = std::clamp(value / grid.step, -limit - 1, limit + 1);
    const double lifted = steps + (unit * words.next()) + (limit + 1);  // >= 0: truncation is floor
    const double rounded = static_cast<double>(static_cast<std::int64_t>(lifted)) - (limit + 1);
    const double kept = std::clamp(rounded, -limit, limit);
    out[i] = static_cast<std::int32_t>(kept);
    residual[i] = static_cast<float>(value - (grid.step * kept));
  }
}

void rotate(float* values, std::size_t count, const RandomSeed& seed) {
  if (count == 0) return;
  const std::size_t power = largest_power(count);
  RandomWords words(seed);
  flip_signs(values, count, words);
  transform(values, power);
  if (power == count) return;
  // New signs: without them, what both transforms meet would be turned back by the second.
  flip_signs(values, count, words);
  transform(values + (count - power), power);
}

void rotate_back(float* values, std::size_t count, const RandomSeed& seed) {
  if (count == 0) return;
  const std::size_t power = largest_power(count);
  RandomWords words(seed);
  std::vector<float> first(count, 1.0F);
  flip_signs(first.data(), count, words);
  if (power != count) {
    transform(values + (count - power), power);
    flip_signs(values, count, words);
  }
  transform(values, power);
  for (std::size_t i = 0; i < count; ++i) values[i] *= first[i];
}

std::vector<std::int64_t> largest_entries(const float* values, std::size_t count, std::size_t k) {
  if (k < 1 || k > count) {
    throw Error(ErrorCode::kInvalidOption,
                "k must be in 1.." + std::to_string(count) + ", got " + std::to_string(k));
  }
  require_finite(values, count);
  std::vector<std::int64_t> places(count);
  std::iota(places.begin(), places.end(), 0);
  const auto end = places.begin() + static_cast<std::ptrdiff_t>(k);
  std::nth_element(places.begin(), end - 1, places.end(), [&](std::int64_t a, std::int64_t b) {
    const float size_a = std::fabs(values[a]);
    const float size_b = std::fabs(values[b]);
    return size_a != size_b ? size_a > size_b : a < b;
  });
  std::sort(places.begin(), end);
  places.resize(k);
  return places;
}

}  // namespace edge
