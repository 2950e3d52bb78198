// What an engine may run in place of adapt.onnx, bound to the tensors of the bundle's state.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "edge/engine.h"

namespace edge {

/// Immutable, and safe to use from any number of threads.
class NativeKernel {
 public:
  NativeKernel() = default;
  virtual ~NativeKernel() = default;
  NativeKernel(const NativeKernel&) = delete;
  NativeKernel& operator=(const NativeKernel&) = delete;
  NativeKernel(NativeKernel&&) = delete;
  NativeKernel& operator=(NativeKernel&&) = delete;

  /// @param features, labels, weights, steps, from  as `Engine::adapt` has checked them
  /// @throws Error  kDiverged if a loss is not finite, or a system has no solution
  virtual Adaptation adapt(const FloatView& features, const LabelView& labels,
                           const std::optional<FloatView>& weights, std::int64_t steps,
                           const State& from, const LayoutPtr& layout) const = 0;
};

/// The kernel that the spec declares; null if it declares none.
/// @throws Error  kBadBundle "manifest.json: kernel ..." if the kernel does not fit the spec
std::unique_ptr<const NativeKernel> make_native_kernel(const EngineSpec& spec,
                                                       const StateLayout& layout);

}  // namespace edge
