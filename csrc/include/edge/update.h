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

/// Steps of a grid in a clipping norm, at most: their squares add up exactly in double precision.
inline constexpr std::int32_t kMaxStepsInNorm = 1 << 22;

/// Adds a clipped update to a sum of integers: its numbers, one tensor after the other, times
/// `steps_in_norm / clipping_norm`, rounded towards zero. The squared norm of these integers is
/// checked to be at most `steps_in_norm` squared, exactly; where rounding in double precision has
/// lifted it over that, the factor shrinks a little.
/// @param total  `[size]`; changed only if nothing is thrown
/// @throws Error  kShapeMismatch if the update has not `size` numbers; kInvalidOption for a norm or
///                steps out of range, or an update that is not clipped; kNonFinite
void add_on_grid(const std::vector<NamedView>& update, double clipping_norm,
                 std::int32_t steps_in_norm, std::int64_t* total, std::size_t size);

}  // namespace edge
