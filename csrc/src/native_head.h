// A bundle's head kernel, bound to the tensors of the bundle's state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "edge/engine.h"
#include "edge/head_kernel.h"

namespace edge {

/// Runs in place of adapt.onnx. Immutable, and safe to use from any number of threads.
class NativeHead {
 public:
  /// @throws Error  kBadBundle "manifest.json: kernel ..." if the kernel does not fit the spec
  NativeHead(const EngineSpec& spec, const StateLayout& layout);

  /// @param features, labels, weights, steps, from  as `Engine::adapt` has checked them
  /// @throws Error  kDiverged if a loss is not finite
  Adaptation adapt(const FloatView& features, const LabelView& labels,
                   const std::optional<FloatView>& weights, std::int64_t steps, const State& from,
                   const LayoutPtr& layout) const;

 private:
  SoftmaxSgd kernel_;
  std::size_t ways_;
  std::size_t dim_;
  // Where the tensors start in a state's buffer.
  std::size_t weight_;
  std::size_t bias_;
  std::size_t counts_;
  std::optional<std::size_t> weight_velocity_;
  std::optional<std::size_t> bias_velocity_;
};

}  // namespace edge
