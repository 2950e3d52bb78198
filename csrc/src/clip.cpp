// Plain loops that compilers turn into vector code; eight sums side by side fix the order.
#include "edge/clip.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace edge {
namespace {

constexpr std::size_t kLanes = 8;
constexpr std::size_t kBlock = 512;
// A double's bits that no normal float has.
constexpr std::uint64_t kBeyondFloat = (std::uint64_t{1} << 29U) - 1;

constexpr std::uint32_t kFloatExponent = 0x7f800000U;

struct Lanes {
  double sums[kLanes] = {};

  double total() const noexcept {
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  }
};

std::uint32_t bits_of(float value) noexcept {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// What a float keeps of a number, rounded toward zero: exact where the result is a normal float.
float truncated(double exact) noexcept {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &exact, sizeof bits);
  bits &= ~kBeyondFloat;
  std::memcpy(&exact, &bits, sizeof bits);
  return static_cast<float>(exact);
}

// The same where the result is a subnormal float.
float truncated_small(double exact) noexcept {
  const auto rounded = static_cast<float>(exact);
  return std::fabs(static_cast<double>(rounded)) > std::fabs(exact) ? std::nextafter(rounded, 0.0F)
                                                                    : rounded;
}

}  // namespace

double joint_norm(const std::vector<FloatSpan>& tensors) noexcept {
  Lanes lanes;
  for (const FloatSpan& tensor : tensors) {
    const std::size_t whole = tensor.size / kLanes * kLanes;
    for (std::size_t i = 0; i < whole; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const auto value = static_cast<double>(tensor.data[i + lane]);
        lanes.sums[lane] += value * value;
      }
    }
    for (std::size_t i = whole; i < tensor.size; ++i) {
      const auto value = static_cast<double>(tensor.data[i]);
      lanes.sums[i - whole] += value * value;
    }
  }
  return std::sqrt(lanes.total());
}

void scale_toward_zero(const FloatSpan& in, double scale, float* out) noexcept {
  constexpr double smallest = std::numeric_limits<float>::min();
  for (std::size_t first = 0; first < in.size; first += kBlock) {
    const std::size_t end = std::min(in.size, first + kBlock);
    for (std::size_t i = first; i < end; ++i) {
      out[i] = truncated(static_cast<double>(in.data[i]) * scale);
    }
    // Zero or subnormal, of a number that is not zero.
    std::uint32_t has_small = 0;
    for (std::size_t i = first; i < end; ++i) {
      const bool is_small = (bits_of(out[i]) & kFloatExponent) == 0;
      const bool is_zero = (bits_of(in.data[i]) << 1U) == 0;
      has_small |= static_cast<std::uint32_t>(is_small & !is_zero);
    }
    if (has_small == 0) continue;
    for (std::size_t i = first; i < end; ++i) {
      const double exact = static_cast<double>(in.data[i]) * scale;
      if (std::fabs(exact) < smallest) out[i] = truncated_small(exact);
    }
  }
}

bool add_rounded(const std::vector<FloatSpan>& tensors, double scale, double bound_squared,
                 std::int64_t* total) {
  std::size_t size = 0;
  for (const FloatSpan& tensor : tensors) size += tensor.size;
  std::vector<std::int32_t> rounded(size);
  std::size_t at = 0;
  Lanes squares;  // exact: integers, and their sum is below 2**53 wherever it is within the bound
  for (const FloatSpan& tensor : tensors) {
    for (std::size_t i = 0; i < tensor.size; ++i, ++at) {
      rounded[at] = static_cast<std::int32_t>(static_cast<double>(tensor.data[i]) * scale);
    }
  }
  const std::size_t whole = size / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const auto value = static_cast<double>(rounded[i + lane]);
      squares.sums[lane] += value * value;
    }
  }
  for (std::size_t i = whole; i < size; ++i) {
    const auto value = static_cast<double>(rounded[i]);
    squares.sums[i - whole] += value * value;
  }
  if (squares.total() > bound_squared) return false;
  for (std::size_t i = 0; i < size; ++i) total[i] += rounded[i];
  return true;
}

}  // namespace edge
