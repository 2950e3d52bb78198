// The clip that bounds what one user's update can change, on the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "edge/tensor.h"

namespace edge {

/// One tensor of an update, by name.
struct NamedView {
  std::string name;
  FloatView view;
};

/// An update after the clip.
struct Clipped {
  std::vector<Tensor> tensors;  ///< in the order they were given, of the same shapes
  double norm = 0;              ///< L2 norm of the whole update before the clip
};

/// L2 norm over all tensors together. Squares of floats are exact in double precision, and are
/// added in eight lanes of a fixed order: the same bits on every machine. NaN or infinite iff a
/// value is.
double joint_norm(const std::vector<NamedView>& update) noexcept;

/// Scales the whole update so that its joint norm is at most `clipping_norm`. An update within the
/// bound keeps its bits; a scaled one is rounded towards zero, so that rounding never lifts it over
/// the bound. Always the same bits on every machine.
/// @throws Error  kInvalidOption unless `clipping_norm` is finite and > 0; kNonFinite
Clipped clip_update(const std::vector<NamedView>& update, double clipping_norm);

/// Adds `value * scale`, rounded towards zero, to `total`, all tensors one after the other; unless
/// the sum of squares of these integers is above `bound_squared`: then nothing is added, and the
/// result is false.
/// @param scale          such that each |value * scale| is below 2**31
/// @param bound_squared  below 2**53
bool add_rounded(const std::vector<NamedView>& update, double scale, double bound_squared,
                 std::int64_t* total) noexcept;

}  // namespace edge
