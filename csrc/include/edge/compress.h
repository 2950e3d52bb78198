// Lossy compression of an update: stochastic rounding to a grid, random rotation, largest entries.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace edge {

/// Seeds the ChaCha20 stream that random choices come from.
using RandomSeed = std::array<std::uint8_t, 32>;

/// The multiples of `step` from `-limit * step` to `limit * step`.
struct Grid {
  double step = 1;         ///< finite, > 0
  std::int32_t limit = 1;  ///< >= 1
};

/// Rounds each value up or down at random so that its expectation is the value, then cuts it off at
/// the ends of the grid (stochastic rounding: Alistarh et al., QSGD, NeurIPS 2017, section 3.1).
/// @param values    `[count]`
/// @param out       `[count]`, multiples of the step
/// @param residual  `[count]`, what rounding and cutting took: value - step * out
/// @throws Error  kInvalidOption if the grid is not as above, kNonFinite if a value is not finite
void round_to_grid(const float* values, std::size_t count, const Grid& grid, const RandomSeed& seed,
                   std::int32_t* out, float* residual);

/// Turns a vector by a random rotation, in place, so that its entries have about the same size:
/// random signs, then the orthonormal Hadamard transform (Suresh et al., Distributed Mean
/// Estimation with Limited Communication, ICML 2017, section 4). Without padding: the transform of
/// the first 2^k entries is followed by that of the last 2^k, where 2^k is the largest power of two
/// that fits. The same seed gives the same rotation, so rotated vectors can be added.
/// @param values  `[count]`, finite
void rotate(float* values, std::size_t count, const RandomSeed& seed);

/// Undoes `rotate` of the same seed.
void rotate_back(float* values, std::size_t count, const RandomSeed& seed);

/// Places of the `k` entries of largest magnitude, ascending; of equals the first.
/// @throws Error  kInvalidOption if k is not in 1..count, kNonFinite if a value is not finite
std::vector<std::int64_t> largest_entries(const float* values, std::size_t count, std::size_t k);

}  // namespace edge
