// Checks of what callers hand to an engine. Messages name shapes and indices, never values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "edge/engine.h"
#include "edge/error.h"

namespace edge {

/// `array` must be `[n, *example_shape]`, finite, n >= 1. Returns n.
/// @param name      the argument's, for messages
/// @param if_empty  the code to report for n == 0
std::int64_t check_batch(const FloatView& array, const Shape& example_shape, const char* name,
                         ErrorCode if_empty);

/// `labels` must be `[n]`, each in 0..ways-1.
void check_labels(const LabelView& labels, std::int64_t n, std::int64_t ways);

/// `weights` must be `[n]`, finite, >= 0, and not all zero.
void check_weights(const FloatView& weights, std::int64_t n);

/// `targets` must be `[n, outputs]`, finite.
void check_targets(const FloatView& targets, std::int64_t n, std::int64_t outputs);

/// What `adapt` was given to learn must be what the bundle learns: kInvalidOption.
enum class Task { kClassification, kRegression };
void check_teaches(const EngineSpec& spec, Task given);

/// The number of steps to take.
std::int64_t check_steps(std::optional<std::int64_t> steps, const EngineSpec& spec);

/// The loss before `step` must be finite: kDiverged.
void check_loss(float loss, std::int64_t step);

/// `state` must have the tensors of `layout`, in its order, all finite.
void check_state(const State& state, const LayoutPtr& layout);

/// What the manifest and the host ask for must make sense.
void check_spec(const EngineSpec& spec, bool has_embed);
void check_options(const RuntimeOptions& options);

}  // namespace edge
