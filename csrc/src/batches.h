// Cuts examples into batches of a fixed size.
#pragma once

#include <cstdint>
#include <functional>

#include "edge/tensor.h"

namespace edge {

/// Reads `batch` rows and writes as many.
using RunBatch = std::function<void(const float* in, float* out)>;

/// Calls `run` for each `batch` rows of `x`, `[n, ...]`, with the place in `y`, `[n, ...]`, where
/// its rows go. Where n is no multiple of `batch`, the last call gets rows padded with zeros, and
/// what it writes for those is dropped: rows must not depend on each other.
void run_in_batches(const FloatView& x, Tensor& y, std::int64_t batch, const RunBatch& run);

}  // namespace edge
