// The joint norm and the clip of an update.
#include "edge/update.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "edge/error.h"

namespace edge {
namespace {

constexpr std::size_t kLanes = 8;

constexpr std::size_t kBlock = 512;
// A double's bits that no normal float has.
constexpr std::uint64_t kBeyondFloat = (std::uint64_t{1} << 29U) - 1;
constexpr std::uint32_t kFloatExponent = 0x7f800000U;

template <typename T>
double sum_of_squares(const T* data, std::size_t count) noexcept {
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

std::size_t count_of(const NamedView& tensor) noexcept {
  std::size_t count = 1;  // a view of something that is in memory: the product cannot overflow
  for (const std::int64_t side : tensor.view.shape) count *= static_cast<std::size_t>(side);
  return count;
}

std::uint32_t bits_of(float value) noexcept {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// What a float keeps of a number, rounded towards zero: exact where the result is a normal float.
float truncated(double exact) noexcept {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &exact, sizeof bits);
  bits &= ~kBeyondFloat;
  std::memcpy(&exact, &bits, sizeof bits);
  return static_cast<float>(exact);
}

// The same for any number; slower.
float truncated_small(double exact) noexcept {
  const float rounded = static_cast<float>(exact);
  const bool grew = std::fabs(static_cast<double>(rounded)) > std::fabs(exact);
  return grew ? std::nextafter(rounded, 0.0F) : rounded;
}

// `in * scale` for 0 < scale < 1, rounded towards zero; loops that compilers turn into vector code.
void scale_down(const float* in, std::size_t count, double scale, float* out) noexcept {
  for (std::size_t first = 0; first < count; first += kBlock) {
    const std::size_t end = std::min(count, first + kBlock);
    for (std::size_t i = first; i < end; ++i) {
      out[i] = truncated(static_cast<double>(in[i]) * scale);
    }
    std::uint32_t has_small = 0;  // zero or subnormal, of a number that is not zero
    for (std::size_t i = first; i < end; ++i) {
      const bool is_small = (bits_of(out[i]) & kFloatExponent) == 0;
      const bool was_zero = (bits_of(in[i]) << 1U) == 0;
      has_small |= static_cast<std::uint32_t>(is_small & !was_zero);
    }
    if (has_small == 0) continue;
    for (std::size_t i = first; i < end; ++i) {
      out[i] = truncated_small(static_cast<double>(in[i]) * scale);
    }
  }
}

}  // namespace

double joint_norm(const std::vector<NamedView>& update) noexcept {
  double total = 0;
  for (const NamedView& tensor : update) {
    total += sum_of_squares(tensor.view.data, count_of(tensor));
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
      scale_down(tensor.view.data, count, scale, out.data.get());
    }
    result.tensors.push_back(std::move(out));
  }
  return result;
}

bool add_rounded(const std::vector<NamedView>& update, double scale, double bound_squared,
                 std::int64_t* total) {
  std::size_t size = 0;
  for (const NamedView& tensor : update) size += count_of(tensor);
  std::vector<std::int32_t> rounded(size);
  std::int32_t* out = rounded.data();
  for (const NamedView& tensor : update) {
    const std::size_t count = count_of(tensor);
    for (std::size_t i = 0; i < count; ++i) {
      out[i] = static_cast<std::int32_t>(static_cast<double>(tensor.view.data[i]) * scale);
    }
    out += count;
  }
  // Exact: integers, whose sum is below 2**53 wherever it is within the bound.
  if (sum_of_squares(rounded.data(), size) > bound_squared) return false;
  for (std::size_t i = 0; i < size; ++i) total[i] += rounded[i];
  return true;
}

}  // namespace edge
