// Checks of what callers hand to an engine.
#include "checks.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace edge {
namespace {

std::string batch_text(const Shape& example_shape) {
  std::string text = "[n";
  for (const std::int64_t dim : example_shape) text += ", " + std::to_string(dim);
  return text + "]";
}

void check_row_count(const Shape& shape, std::int64_t n, const char* name) {
  if (shape != Shape{n}) {
    throw Error(ErrorCode::kShapeMismatch, std::string(name) + " must have shape [" +
                                               std::to_string(n) + "], got " + to_text(shape));
  }
}

[[noreturn]] void refuse_manifest(const std::string& message) {
  throw Error(ErrorCode::kBadBundle, "manifest.json: " + message);
}

void check_example_shape(const Shape& shape, const char* name) {
  if (std::any_of(shape.begin(), shape.end(), [](std::int64_t dim) { return dim < 1; })) {
    refuse_manifest(std::string(name) + " shape " + to_text(shape) + " has an axis below 1");
  }
}

}  // namespace

InnerLoop inner_loop_of(const std::string& name) {
  if (name == "gradient") return InnerLoop::kGradient;
  if (name == "closed_form") return InnerLoop::kClosedForm;
  if (name == "sequential") return InnerLoop::kSequential;
  refuse_manifest("adaptation must be gradient, closed_form or sequential");
}

std::int64_t check_batch(const FloatView& array, const Shape& example_shape, const char* name,
                         ErrorCode if_empty) {
  const bool fits = array.shape.size() == example_shape.size() + 1 &&
                    std::equal(example_shape.begin(), example_shape.end(), array.shape.begin() + 1);
  if (!fits) {
    throw Error(ErrorCode::kShapeMismatch, std::string(name) + " must have shape " +
                                               batch_text(example_shape) + ", got " +
                                               to_text(array.shape));
  }
  if (array.shape[0] < 1) {
    throw Error(if_empty, std::string(name) + " must hold at least one example");
  }
  const std::size_t count = element_count(array.shape);
  if (!all_finite(array.data, count)) {
    const std::size_t row_size = count / static_cast<std::size_t>(array.shape[0]);
    std::int64_t row = 0;
    while (all_finite(array.data + (static_cast<std::size_t>(row) * row_size), row_size)) ++row;
    throw Error(ErrorCode::kNonFinite,
                std::string(name) + " holds NaN or infinity in row " + std::to_string(row));
  }
  return array.shape[0];
}

void check_labels(const LabelView& labels, std::int64_t n, std::int64_t ways) {
  check_row_count(labels.shape, n, "labels");
  const std::int64_t* const end = labels.data + n;
  const std::int64_t* const bad = std::find_if(
      labels.data, end, [ways](std::int64_t label) { return label < 0 || label >= ways; });
  if (bad != end) {
    throw Error(ErrorCode::kLabelRange, "labels[" + std::to_string(bad - labels.data) +
                                            "] is outside 0.." + std::to_string(ways - 1));
  }
}

void check_targets(const FloatView& targets, std::int64_t n, std::int64_t outputs) {
  if (targets.shape != Shape{n, outputs}) {
    throw Error(ErrorCode::kShapeMismatch, "targets must have shape " + to_text({n, outputs}) +
                                               ", got " + to_text(targets.shape));
  }
  if (!all_finite(targets.data, element_count(targets.shape))) {
    throw Error(ErrorCode::kNonFinite, "targets hold NaN or infinity");
  }
}

void check_teaches(const EngineSpec& spec, Task given) {
  const bool regression = spec.outputs > 0;
  if (regression == (given == Task::kRegression)) return;
  throw Error(ErrorCode::kInvalidOption,
              regression ? "this bundle learns values: give float targets in place of labels"
                         : "this bundle learns labels: give slots in place of targets");
}

void check_weights(const FloatView& weights, std::int64_t n) {
  check_row_count(weights.shape, n, "weights");
  const float* const end = weights.data + n;
  if (!all_finite(weights.data, static_cast<std::size_t>(n))) {
    throw Error(ErrorCode::kNonFinite, "weights hold NaN or infinity");
  }
  const float* const negative = std::find_if(weights.data, end, [](float w) { return w < 0; });
  if (negative != end) {
    throw Error(ErrorCode::kInvalidOption,
                "weights[" + std::to_string(negative - weights.data) + "] must be >= 0");
  }
  if (std::all_of(weights.data, end, [](float w) { return w == 0; })) {
    throw Error(ErrorCode::kEmptySupport, "all weights are zero; at least one must be positive");
  }
}

std::int64_t check_steps(std::optional<std::int64_t> steps, const EngineSpec& spec) {
  const std::int64_t wanted = steps.value_or(spec.steps);
  if (spec.loop != InnerLoop::kGradient && wanted != 1) {
    const char* const kind = spec.loop == InnerLoop::kSequential ? "sequential" : "closed-form";
    throw Error(ErrorCode::kInvalidOption, std::string("steps must be 1 for a ") + kind +
                                               " bundle, got " + std::to_string(wanted));
  }
  if (wanted < 1 || wanted > Engine::kMaxSteps) {
    throw Error(ErrorCode::kInvalidOption, "steps must be in 1.." +
                                               std::to_string(Engine::kMaxSteps) + ", got " +
                                               std::to_string(wanted));
  }
  return wanted;
}

void check_loss(float loss, std::int64_t step) {
  if (std::isfinite(loss)) return;
  throw Error(ErrorCode::kDiverged, "loss is not finite at step " + std::to_string(step) +
                                        "; take fewer steps or check the features; the state is "
                                        "unchanged");
}

void check_state(const State& state, const LayoutPtr& layout) {
  if (state.layout() != layout) {
    if (state.size() != layout->size()) {
      throw Error(ErrorCode::kBadState, "the state must have " + std::to_string(layout->size()) +
                                            " tensors, it has " + std::to_string(state.size()));
    }
    for (std::size_t i = 0; i < state.size(); ++i) {
      const TensorSpec& want = layout->specs()[i];
      if (!(state.spec(i) == want)) {
        throw Error(ErrorCode::kBadState, "state tensor " + std::to_string(i) + " must be " +
                                              want.name + " " + to_text(want.shape) + ", it is " +
                                              state.spec(i).name + " " +
                                              to_text(state.spec(i).shape));
      }
    }
  }
  if (state.non_finite()) {
    throw Error(ErrorCode::kNonFinite,
                "state tensor " + state.spec(*state.non_finite()).name + " holds NaN or infinity");
  }
}

void check_spec(const EngineSpec& spec, bool has_embed) {
  if (spec.ways < 1) refuse_manifest("ways must be >= 1");
  if (spec.steps < 1 || spec.steps > Engine::kMaxSteps) {
    refuse_manifest("steps must be in 1.." + std::to_string(Engine::kMaxSteps));
  }
  if (spec.loop != InnerLoop::kGradient && spec.steps != 1) {
    refuse_manifest("closed_form and sequential take exactly one step");
  }
  if (spec.outputs < 0) refuse_manifest("outputs must be >= 1");
  if (spec.outputs > 0 && spec.ways != 1) refuse_manifest("a regression has one slot");
  check_example_shape(spec.input_shape, "input");
  check_example_shape(spec.feature_shape, "features");
  if (!has_embed && spec.input_shape != spec.feature_shape) {
    refuse_manifest("without embed.onnx the features must have the shape of the input, " +
                    to_text(spec.input_shape) + ", not " + to_text(spec.feature_shape));
  }
}

void check_options(const RuntimeOptions& options) {
  if (options.threads < 1 || options.threads > Engine::kMaxThreads) {
    throw Error(ErrorCode::kInvalidOption, "threads must be in 1.." +
                                               std::to_string(Engine::kMaxThreads) + ", got " +
                                               std::to_string(options.threads));
  }
  if (options.providers.empty()) {
    throw Error(ErrorCode::kInvalidOption, "providers must name at least one of: cpu");
  }
  for (const std::string& provider : options.providers) {
    if (provider != "cpu") {
      throw Error(ErrorCode::kInvalidOption,
                  "provider " + provider + " is not available; available: cpu");
    }
  }
}

}  // namespace edge
