// The joint norm and the clip of an update.
#include "edge/update.h"

#include <array>
#include <cmath>
#include <cstring>
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

/// `value * scale` for 0 < scale < 1, rounded towards zero.
float scaled_down(float value, double scale) noexcept {
  const double exact = static_cast<double>(value) * scale;
  const float rounded = static_cast<float>(exact);
  const bool grew = std::fabs(static_cast<double>(rounded)) > std::fabs(exact);
  return grew ? std::nextafter(rounded, 0.0F) : rounded;
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
  if (!std::isfinite(clipping_norm) || clipping_norm <= 0) {
    throw Error(ErrorCode::kInvalidOption, "clipping_norm must be a finite number > 0");
  }
  Clipped result;
  result.norm = joint_norm(update);
  result.tensors.reserve(update.size());
  const bool within = result.norm <= clipping_norm;
  const double scale = clipping_norm / result.norm;
  for (const NamedView& tensor : update) {
    const std::size_t count = element_count(tensor.view.shape);
    if (!std::isfinite(result.norm) && !all_finite(tensor.view.data, count)) {
      throw Error(ErrorCode::kNonFinite, tensor.name + " holds NaN or infinity");
    }
    Tensor out{tensor.view.shape, make_buffer(count)};
    if (within) {
      if (count != 0) std::memcpy(out.data.get(), tensor.view.data, count * sizeof(float));
    } else {
      for (std::size_t i = 0; i < count; ++i) out.data[i] = scaled_down(tensor.view.data[i], scale);
    }
    result.tensors.push_back(std::move(out));
  }
  return result;
}

}  // namespace edge
