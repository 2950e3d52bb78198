// Steps over a support set, or over its examples one by one.
#include "adapt_graph.h"

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "checks.h"
#include "edge/error.h"
#include "state_values.h"

namespace edge {
namespace {

std::vector<PortSpec> support_ports(const EngineSpec& spec) {
  const std::int64_t n = spec.loop == InnerLoop::kSequential ? 1 : kAnyCount;
  const PortSpec answers = spec.outputs > 0
                               ? PortSpec{"targets", ort::kElementFloat, {n, spec.outputs}}
                               : PortSpec{"labels", ort::kElementInt64, {n}};
  return {{"features", ort::kElementFloat, batch_of(spec.feature_shape, n)},
          answers,
          {"weights", ort::kElementFloat, {n}}};
}

// What one call of adapt.onnx sees: rows `[first, first + n)` of a support set.
struct SupportValues {
  template <typename T>
  static ort::Value rows(const ort::Runtime& runtime, const View<T>& array, std::int64_t first,
                         std::int64_t n) {
    Shape shape = array.shape;
    const std::size_t row = element_count(shape) / static_cast<std::size_t>(shape[0]);
    shape[0] = n;
    return {runtime, array.data + (static_cast<std::size_t>(first) * row), shape,
            row * static_cast<std::size_t>(n)};
  }

  SupportValues(const ort::Runtime& runtime, const FloatView& all_features, const Answers& all,
                const FloatView& all_weights, std::int64_t first, std::int64_t n)
      : features(rows(runtime, all_features, first, n)),
        answers(std::visit([&](const auto& view) { return rows(runtime, view, first, n); }, all)),
        weights(rows(runtime, all_weights, first, n)) {}

  ort::Value features;
  ort::Value answers;
  ort::Value weights;
};

}  // namespace

AdaptGraph::AdaptGraph(const ort::Runtime& runtime, std::string_view bytes, int threads,
                       const EngineSpec& spec, const StateLayout& layout)
    : runtime_(&runtime),
      sequential_(spec.loop == InnerLoop::kSequential),
      graph_(runtime, "adapt.onnx", bytes, threads,
             state_ports(layout, "state.", false) + support_ports(spec),
             state_ports(layout, "next.", true) +
                 std::vector<PortSpec>{{"loss", ort::kElementFloat, {}}}) {}

Adaptation AdaptGraph::adapt(const Support& support, std::int64_t steps, const State& from,
                             const LayoutPtr& layout) const {
  const std::int64_t n = support.features.shape[0];
  const std::vector<float> ones(support.weights ? 0 : static_cast<std::size_t>(n), 1.0F);
  const FloatView weights = support.weights ? *support.weights : FloatView{ones.data(), {n}};
  const StateValues from_values(*runtime_, *layout, from.data(0),
                                [&](std::size_t i) { return !graph_.reads(i); });
  float loss = 0;  // NOLINT(misc-const-correctness): the runtime writes it
  const ort::Value loss_value(*runtime_, &loss, {}, 1);

  // Step k reads the slate that step k-1 wrote and writes the other: nothing is copied in between.
  Slate written(*runtime_, *layout);
  Slate spare(*runtime_, *layout);
  Handles inputs;
  from_values.append_to(inputs);
  inputs.resize(layout->size() + 3);
  Handles outputs;
  written.values.append_to(outputs);
  outputs.push_back(loss_value.get());

  Adaptation result;
  const auto take_step = [&](const SupportValues& seen) {
    if (!result.losses.empty()) {
      written.values.swap_into(inputs);
      std::swap(written, spare);
      written.values.swap_into(outputs);
    }
    inputs[layout->size()] = seen.features.get();
    inputs[layout->size() + 1] = seen.answers.get();
    inputs[layout->size() + 2] = seen.weights.get();
    graph_.run(inputs, outputs);
    check_loss(loss, static_cast<std::int64_t>(result.losses.size()) + 1);
    result.losses.push_back(loss);
  };
  if (sequential_) {
    for (std::int64_t row = 0; row < n; ++row) {
      if (weights.data[row] == 0) continue;
      take_step({*runtime_, support.features, support.answers, weights, row, 1});
    }
  } else {
    const SupportValues all(*runtime_, support.features, support.answers, weights, 0, n);
    for (std::int64_t step = 0; step < steps; ++step) take_step(all);
  }
  result.state = std::make_shared<const State>(layout, std::move(written.buffer));
  return result;
}

}  // namespace edge
