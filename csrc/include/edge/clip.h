// A bound on one user's whole update: its L2 norm, and the clip.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edge {

/// Numbers of one tensor of an update; borrowed for the call.
struct FloatSpan {
  const float* data = nullptr;
  std::size_t size = 0;
};

/// L2 norm over all tensors together, in double precision; NaN or infinity where one of them holds
/// that, and nowhere else. The same bits on every machine: sums run in one order.
double joint_norm(const std::vector<FloatSpan>& tensors) noexcept;

/// `out[i] = in[i] * scale`, rounded toward zero, so that no norm grows.
/// @param scale  in (0, 1]
void scale_toward_zero(const FloatSpan& in, double scale, float* out) noexcept;

/// Adds `in[i] * scale`, rounded toward zero, to `total[i]`, unless the sum of squares of these
/// integers is above `bound_squared`: then nothing is added, and the result is false.
/// @param scale  such that each |in[i] * scale| is below 2**31
/// @param bound_squared  below 2**53
/// @throws std::bad_alloc
bool add_rounded(const std::vector<FloatSpan>& tensors, double scale, double bound_squared,
                 std::int64_t* total);

}  // namespace edge
