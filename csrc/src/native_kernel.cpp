// Finds a kernel's tensors in a state, and adapts a copy of it.
#include "native_kernel.h"

#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "checks.h"
#include "edge/error.h"

namespace edge {
namespace {

constexpr const char* kVelocity = ".velocity";
constexpr double kLargest = 1e6;  // of rates, ridges and scales

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kBadBundle, "manifest.json: kernel " + message);
}

void check_fit(const EngineSpec& spec, InnerLoop loop, std::size_t num_tensors) {
  if (spec.loop != loop) {
    refuse(loop == InnerLoop::kClosedForm ? "needs a closed-form bundle"
                                          : "needs a gradient bundle");
  }
  if (spec.outputs > 0 || spec.variance) refuse("needs a bundle that gives logits and no more");
  if (spec.feature_shape.size() != 1) refuse("needs features of one axis");
  if (spec.state.size() != num_tensors) {
    refuse("needs a state of exactly " + std::to_string(num_tensors) + " tensors, it has " +
           std::to_string(spec.state.size()));
  }
}

std::size_t offset_of(const StateLayout& layout, const std::string& name, const Shape& shape) {
  const std::optional<std::size_t> found = layout.find(name);
  if (!found || layout.specs()[*found].shape != shape) {
    refuse("needs a state tensor " + name + " of shape " + to_text(shape));
  }
  return layout.offset(*found);
}

bool in_range(double value, bool with_zero) {
  return (with_zero ? value >= 0 : value > 0) && value <= kLargest;
}

FloatBuffer copy_of(const State& from, const StateLayout& layout) {
  FloatBuffer buffer = make_buffer(layout.buffer_size());
  for (std::size_t i = 0; i < layout.size(); ++i) {
    std::memcpy(buffer.get() + layout.offset(i), from.data(i), layout.count(i) * sizeof(float));
  }
  return buffer;
}

HeadSupport support_of(const FloatView& features, const LabelView& labels,
                       const std::optional<FloatView>& weights) {
  return {static_cast<std::size_t>(features.shape[0]), features.data, labels.data,
          weights ? weights->data : nullptr};
}

const SoftmaxSgd& checked(const SoftmaxSgd& kernel, const EngineSpec& spec) {
  if (!in_range(kernel.rate, false)) refuse("rate must be in (0, 1e6]");
  if (!(kernel.momentum >= 0 && kernel.momentum < 1)) refuse("momentum must be in [0, 1)");
  check_fit(spec, InnerLoop::kGradient, kernel.momentum > 0 ? 5 : 3);
  return kernel;
}

class NativeHead final : public NativeKernel {
 public:
  NativeHead(const SoftmaxSgd& kernel, const EngineSpec& spec, const StateLayout& layout)
      : kernel_(checked(kernel, spec)),
        ways_(static_cast<std::size_t>(spec.ways)),
        dim_(static_cast<std::size_t>(spec.feature_shape[0])),
        weight_(offset_of(layout, kernel.weight, {spec.ways, spec.feature_shape[0]})),
        bias_(offset_of(layout, kernel.bias, {spec.ways})),
        counts_(offset_of(layout, "counts", {spec.ways})) {
    if (kernel.bias == "counts") refuse("must not take counts for its bias");
    if (kernel.momentum > 0) {
      weight_velocity_ =
          offset_of(layout, kernel.weight + kVelocity, {spec.ways, spec.feature_shape[0]});
      bias_velocity_ = offset_of(layout, kernel.bias + kVelocity, {spec.ways});
    }
  }

  Adaptation adapt(const FloatView& features, const LabelView& labels,
                   const std::optional<FloatView>& weights, std::int64_t steps, const State& from,
                   const LayoutPtr& layout) const override {
    FloatBuffer buffer = copy_of(from, *layout);
    const auto at = [&](const std::optional<std::size_t>& offset) {
      return offset ? buffer.get() + *offset : nullptr;
    };
    const Head head{
        ways_, dim_, at(weight_), at(bias_), at(counts_), at(weight_velocity_), at(bias_velocity_)};
    Adaptation result;
    result.losses = adapt_softmax_head(head, support_of(features, labels, weights), kernel_, steps);
    result.state = std::make_shared<const State>(layout, std::move(buffer));
    return result;
  }

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

const RidgeSolve& checked(const RidgeSolve& kernel, const EngineSpec& spec) {
  if (!in_range(kernel.ridge, false)) refuse("ridge must be in (0, 1e6]");
  if (!in_range(kernel.ridge_per_weight, true)) refuse("ridge_per_weight must be in [0, 1e6]");
  if (!in_range(kernel.scale, false)) refuse("scale must be in (0, 1e6]");
  check_fit(spec, InnerLoop::kClosedForm, 4);
  return kernel;
}

class NativeRidge final : public NativeKernel {
 public:
  NativeRidge(const RidgeSolve& kernel, const EngineSpec& spec, const StateLayout& layout)
      : kernel_(checked(kernel, spec)),
        ways_(static_cast<std::size_t>(spec.ways)),
        dim_(static_cast<std::size_t>(spec.feature_shape[0])),
        weight_(offset_of(layout, kernel.weight, {spec.ways, spec.feature_shape[0]})),
        gram_(offset_of(layout, kernel.gram, {spec.feature_shape[0], spec.feature_shape[0]})),
        moments_(offset_of(layout, kernel.moments, {spec.ways, spec.feature_shape[0]})),
        counts_(offset_of(layout, "counts", {spec.ways})) {
    if (weight_ == moments_ || weight_ == gram_ || moments_ == gram_) {
      refuse("must name three tensors");
    }
  }

  Adaptation adapt(const FloatView& features, const LabelView& labels,
                   const std::optional<FloatView>& weights, std::int64_t /*steps*/,
                   const State& from, const LayoutPtr& layout) const override {
    FloatBuffer buffer = copy_of(from, *layout);
    const RidgeHead head{ways_,
                         dim_,
                         buffer.get() + weight_,
                         buffer.get() + gram_,
                         buffer.get() + moments_,
                         buffer.get() + counts_};
    Adaptation result;
    result.losses = {adapt_ridge_head(head, support_of(features, labels, weights), kernel_)};
    check_loss(result.losses[0], 1);
    result.state = std::make_shared<const State>(layout, std::move(buffer));
    return result;
  }

 private:
  RidgeSolve kernel_;
  std::size_t ways_;
  std::size_t dim_;
  // Where the tensors start in a state's buffer.
  std::size_t weight_;
  std::size_t gram_;
  std::size_t moments_;
  std::size_t counts_;
};

}  // namespace

std::unique_ptr<const NativeKernel> make_native_kernel(const EngineSpec& spec,
                                                       const StateLayout& layout) {
  if (!spec.kernel) return nullptr;
  if (const auto* const sgd = std::get_if<SoftmaxSgd>(&*spec.kernel)) {
    return std::make_unique<NativeHead>(*sgd, spec, layout);
  }
  return std::make_unique<NativeRidge>(std::get<RidgeSolve>(*spec.kernel), spec, layout);
}

}  // namespace edge
