// adapt.onnx, called as often as the bundle's inner loop says.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "edge/engine.h"
#include "graph.h"

namespace edge {

/// What a support set says of its examples: slots `[n]`, or values `[n, outputs]`.
using Answers = std::variant<LabelView, FloatView>;

/// Already checked; borrowed for the call.
struct Support {
  const FloatView& features;
  Answers answers;
  const std::optional<FloatView>& weights;
};

class AdaptGraph {
 public:
  /// @throws Error  as Graph does
  AdaptGraph(const ort::Runtime& runtime, std::string_view bytes, int threads,
             const EngineSpec& spec, const StateLayout& layout);

  /// @throws Error  kDiverged if a loss is not finite, kRuntimeFailed
  Adaptation adapt(const Support& support, std::int64_t steps, const State& from,
                   const LayoutPtr& layout) const;

 private:
  const ort::Runtime* runtime_;
  bool sequential_;
  Graph graph_;
};

}  // namespace edge
