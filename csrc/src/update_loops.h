// The loops over the numbers of an update; the tests run each width.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edge {

/// One function for each pass over a tensor of `count` numbers. All widths give the same bits.
struct UpdateLoops {
  /// Sum of squares.
  double (*squares)(const float* data, std::size_t count);
  /// Sum of squares of what `add_rounded` adds.
  double (*rounded_squares)(const float* data, std::size_t count, double scale);
  /// `total[i] += data[i] * scale`, rounded towards zero; below 2**31.
  void (*add_rounded)(const float* data, std::size_t count, double scale, std::int64_t* total);
  /// `out[i] = in[i] * scale`, rounded towards zero; 0 < scale < 1.
  void (*scale_down)(const float* in, std::size_t count, double scale, float* out);
};

/// Those of the compiler's target (SSE2, NEON), or the widest that the processor has.
const UpdateLoops& update_loops(bool portable) noexcept;

}  // namespace edge
