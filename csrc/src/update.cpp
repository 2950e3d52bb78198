// The joint norm and the clip of an update.
#include "edge/update.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "edge/error.h"

namespace edge {
namespace {

constexpr std::size_t kLanes = 8;

double sum_of_squares(const float* data, std::size_t count) noexcept {
  std::array<double, kLanes> lanes{};
  const std::size_t whole = count - count % kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double value = static_cast<double>(data[i + lane]);
      lanes[lane] += value * value;
    }
  }
  for (std::size_t i = whole; i < count; ++i) {
    const double value = static_cast<double>(data[i]);
    lanes[i - whole] += value * value;
  }
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

/// `value * scale` for 0 < scale < 1, rounded towards zero. One less in a float's bits is the next
/// one towards zero; without a branch or a call the compiler makes vector code of this.
float scaled_down(float value, double scale) noexcept {
  const double exact = static_cast<double>(value) * scale;
  float rounded = static_cast<float>(exact);
  const bool grew = std::fabs(static_cast<double>(rounded)) > std::fabs(exact);
  std::uint32_t bits = 0;
  std::memcpy(&bits, &rounded, sizeof bits);
  bits -= static_cast<std::uint32_t>(grew);
  std::memcpy(&rounded, &bits, sizeof bits);
  return rounded;
}

/// What `value` is on the grid, for |value * scale| <= kMaxStepsInNorm and a little.
std::int32_t on_grid(float value, double scale) noexcept {
  return static_cast<std::int32_t>(static_cast<double>(value) * scale);
}

double squared_norm_on_grid(const float* data, std::size_t count, double scale) noexcept {
  std::array<double, kLanes> lanes{};
  const std::size_t whole = count - count % kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double steps = static_cast<double>(on_grid(data[i + lane], scale));
      lanes[lane] += steps * steps;
    }
  }
  for (std::size_t i = whole; i < count; ++i) {
    const double steps = static_cast<double>(on_grid(data[i], scale));
    lanes[i - whole] += steps * steps;
  }
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

void check_finite(const std::vector<NamedView>& update) {
  for (const NamedView& tensor : update) {
    if (!all_finite(tensor.view.data, element_count(tensor.view.shape))) {
      throw Error(ErrorCode::kNonFinite, tensor.name + " holds NaN or infinity");
    }
  }
}

void check_norm(double clipping_norm) {
  if (!std::isfinite(clipping_norm) || clipping_norm <= 0) {
    throw Error(ErrorCode::kInvalidOption, "clipping_norm must be a finite number > 0");
  }
}

}  // namespace

double joint_norm(const std::vector<NamedView>& update) noexcept {
  double total = 0;
  for (const NamedView& tensor : update) {
    std::size_t count = 1;  // a view of something that is in memory: the product cannot overflow
    for (const std::int64_t side : tensor.view.shape) count *= static_cast<std::size_t>(side);
    total += sum_of_squares(tensor.view.data, count);
  }
  return std::sqrt(total);
}

Clipped clip_update(const std::vector<NamedView>& update, double clipping_norm) {
  check_norm(clipping_norm);
  Clipped result;
  result.norm = joint_norm(update);
  if (!std::isfinite(result.norm)) check_finite(update);
  result.tensors.reserve(update.size());
  const bool within = result.norm <= clipping_norm;
  const double scale = clipping_norm / result.norm;
  for (const NamedView& tensor : update) {
    const std::size_t count = element_count(tensor.view.shape);
    Tensor out{tensor.view.shape, make_buffer(count)};
    const float* const from = tensor.view.data;
    float* const to = out.data.get();
    if (within) {
      if (count != 0) std::memcpy(to, from, count * sizeof(float));
    } else {
      for (std::size_t i = 0; i < count; ++i) to[i] = scaled_down(from[i], scale);
    }
    result.tensors.push_back(std::move(out));
  }
  return result;
}

void add_on_grid(const std::vector<NamedView>& update, double clipping_norm,
                 std::int32_t steps_in_norm, std::int64_t* total, std::size_t size) {
  constexpr double kSlack = 1 + 1e-9;
  constexpr double kShrink = 1 - 0x1p-40;
  check_norm(clipping_norm);
  if (steps_in_norm < 1 || steps_in_norm > kMaxStepsInNorm) {
    throw Error(ErrorCode::kInvalidOption,
                "steps_in_norm must be in 1.." + std::to_string(kMaxStepsInNorm));
  }
  std::size_t count = 0;
  for (const NamedView& tensor : update) count += element_count(tensor.view.shape);
  if (count != size) {
    throw Error(ErrorCode::kShapeMismatch, "the sum has " + std::to_string(size) +
                                               " numbers, the update " + std::to_string(count));
  }
  const double norm = joint_norm(update);
  if (!std::isfinite(norm)) check_finite(update);
  if (norm > clipping_norm * kSlack) {
    throw Error(ErrorCode::kInvalidOption, "an update must be clipped to the grid's norm first");
  }
  const double most = static_cast<double>(steps_in_norm) * static_cast<double>(steps_in_norm);
  double scale = static_cast<double>(steps_in_norm) / clipping_norm;
  const auto squared_norm = [&update, &scale] {
    double squares = 0;
    for (const NamedView& tensor : update) {
      squares += squared_norm_on_grid(tensor.view.data, element_count(tensor.view.shape), scale);
    }
    return squares;
  };
  while (squared_norm() > most) scale *= kShrink;
  for (const NamedView& tensor : update) {
    const std::size_t numbers = element_count(tensor.view.shape);
    for (std::size_t i = 0; i < numbers; ++i) total[i] += on_grid(tensor.view.data[i], scale);
    total += numbers;
  }
}

}  // namespace edge
