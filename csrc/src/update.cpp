// The joint norm and the clip of an update.
#include "edge/update.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "edge/error.h"
#include "update_loops.h"

namespace edge {
namespace {

#define EDGE_INLINE inline __attribute__((always_inline))
#define EDGE_AVX2 __attribute__((target("avx2")))

constexpr std::size_t kLanes = 8;

constexpr std::size_t kBlock = 512;
// A double's bits that no normal float has.
constexpr std::uint64_t kBeyondFloat = (std::uint64_t{1} << 29U) - 1;
constexpr std::uint32_t kFloatExponent = 0x7f800000U;

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

// The loops below are written so that compilers turn them into vector code, and are compiled for
// several widths of it: every operation is rounded by itself, so the bits are those of all others.
template <typename Value>
EDGE_INLINE double sum_of_squares_here(std::size_t count, const Value& value) noexcept {
  std::array<double, kLanes> lanes{};
  const std::size_t whole = count - count % kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double found = value(i + lane);
      lanes[lane] += found * found;
    }
  }
  for (std::size_t i = whole; i < count; ++i) {
    const double found = value(i);
    lanes[i - whole] += found * found;
  }
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

EDGE_INLINE double squares_here(const float* data, std::size_t count) noexcept {
  return sum_of_squares_here(count, [&](std::size_t i) { return static_cast<double>(data[i]); });
}

EDGE_INLINE std::int32_t rounded(float value, double scale) noexcept {
  return static_cast<std::int32_t>(static_cast<double>(value) * scale);
}

EDGE_INLINE double rounded_squares_here(const float* data, std::size_t count,
                                        double scale) noexcept {
  return sum_of_squares_here(
      count, [data, scale](std::size_t i) { return static_cast<double>(rounded(data[i], scale)); });
}

EDGE_INLINE void add_rounded_here(const float* data, std::size_t count, double scale,
                                  std::int64_t* total) noexcept {
  for (std::size_t i = 0; i < count; ++i) total[i] += rounded(data[i], scale);
}

// `in * scale` for 0 < scale < 1, rounded towards zero.
EDGE_INLINE void scale_down_here(const float* in, std::size_t count, double scale,
                                 float* out) noexcept {
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

constexpr UpdateLoops kPortableLoops{
    [](const float* data, std::size_t count) { return squares_here(data, count); },
    [](const float* data, std::size_t count, double scale) {
      return rounded_squares_here(data, count, scale);
    },
    [](const float* data, std::size_t count, double scale, std::int64_t* total) {
      add_rounded_here(data, count, scale, total);
    },
    [](const float* in, std::size_t count, double scale, float* out) {
      scale_down_here(in, count, scale, out);
    },
};

#if defined(__x86_64__)
EDGE_AVX2 double squares_avx2(const float* data, std::size_t count) {
  return squares_here(data, count);
}
EDGE_AVX2 double rounded_squares_avx2(const float* data, std::size_t count, double scale) {
  return rounded_squares_here(data, count, scale);
}
EDGE_AVX2 void add_rounded_avx2(const float* data, std::size_t count, double scale,
                                std::int64_t* total) {
  add_rounded_here(data, count, scale, total);
}
EDGE_AVX2 void scale_down_avx2(const float* in, std::size_t count, double scale, float* out) {
  scale_down_here(in, count, scale, out);
}
constexpr UpdateLoops kAvx2Loops{squares_avx2, rounded_squares_avx2, add_rounded_avx2,
                                 scale_down_avx2};
#endif

const UpdateLoops& widest() noexcept {
  static const UpdateLoops& loops = update_loops(/*portable=*/false);
  return loops;
}

}  // namespace

const UpdateLoops& update_loops(bool portable) noexcept {
#if defined(__x86_64__)
  if (!portable && __builtin_cpu_supports("avx2") != 0) return kAvx2Loops;
#endif
  static_cast<void>(portable);
  return kPortableLoops;
}

double joint_norm(const std::vector<NamedView>& update) noexcept {
  double total = 0;
  for (const NamedView& tensor : update) {
    total += widest().squares(tensor.view.data, count_of(tensor));
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
      widest().scale_down(tensor.view.data, count, scale, out.data.get());
    }
    result.tensors.push_back(std::move(out));
  }
  return result;
}

bool add_rounded(const std::vector<NamedView>& update, double scale, double bound_squared,
                 std::int64_t* total) noexcept {
  // Exact: integers, whose sum is below 2**53 wherever it is within the bound. They are rounded
  // once for this sum and again to be added, which is cheaper than to keep them.
  double squares = 0;
  for (const NamedView& tensor : update) {
    squares += widest().rounded_squares(tensor.view.data, count_of(tensor), scale);
  }
  if (squares > bound_squared) return false;
  for (const NamedView& tensor : update) {
    const std::size_t count = count_of(tensor);
    widest().add_rounded(tensor.view.data, count, scale, total);
    total += count;
  }
  return true;
}

}  // namespace edge
