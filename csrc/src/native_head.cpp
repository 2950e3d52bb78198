// Finds the kernel's tensors in a state, and adapts a copy of it.
#include "native_head.h"

#include <cstring>
#include <string>
#include <utility>

#include "edge/error.h"

namespace edge {
namespace {

constexpr const char* kVelocity = ".velocity";
constexpr double kMaxRate = 1e6;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kBadBundle, "manifest.json: kernel " + message);
}

const SoftmaxSgd& checked(const EngineSpec& spec) {
  const SoftmaxSgd& kernel = *spec.kernel;
  if (spec.loop != InnerLoop::kGradient) refuse("needs a gradient bundle");
  if (spec.outputs > 0 || spec.variance) refuse("needs a bundle that gives logits and no more");
  if (spec.feature_shape.size() != 1) refuse("needs features of one axis");
  if (!(kernel.rate > 0 && kernel.rate <= kMaxRate)) refuse("rate must be in (0, 1e6]");
  if (!(kernel.momentum >= 0 && kernel.momentum < 1)) refuse("momentum must be in [0, 1)");
  const std::size_t expected = kernel.momentum > 0 ? 5 : 3;
  if (spec.state.size() != expected) {
    refuse("needs a state of exactly " + std::to_string(expected) + " tensors, it has " +
           std::to_string(spec.state.size()));
  }
  return kernel;
}

std::size_t offset_of(const StateLayout& layout, const std::string& name, const Shape& shape) {
  const std::optional<std::size_t> found = layout.find(name);
  if (!found || layout.specs()[*found].shape != shape) {
    refuse("needs a state tensor " + name + " of shape " + to_text(shape));
  }
  return layout.offset(*found);
}

}  // namespace

NativeHead::NativeHead(const EngineSpec& spec, const StateLayout& layout)
    : kernel_(checked(spec)),
      ways_(static_cast<std::size_t>(spec.ways)),
      dim_(static_cast<std::size_t>(spec.feature_shape[0])),
      weight_(offset_of(layout, kernel_.weight, {spec.ways, spec.feature_shape[0]})),
      bias_(offset_of(layout, kernel_.bias, {spec.ways})),
      counts_(offset_of(layout, "counts", {spec.ways})) {
  if (kernel_.bias == "counts") refuse("must not take counts for its bias");
  if (kernel_.momentum > 0) {
    weight_velocity_ =
        offset_of(layout, kernel_.weight + kVelocity, {spec.ways, spec.feature_shape[0]});
    bias_velocity_ = offset_of(layout, kernel_.bias + kVelocity, {spec.ways});
  }
}

Adaptation NativeHead::adapt(const FloatView& features, const LabelView& labels,
                             const std::optional<FloatView>& weights, std::int64_t steps,
                             const State& from, const LayoutPtr& layout) const {
  FloatBuffer buffer = make_buffer(layout->buffer_size());
  for (std::size_t i = 0; i < layout->size(); ++i) {
    std::memcpy(buffer.get() + layout->offset(i), from.data(i), layout->count(i) * sizeof(float));
  }
  const auto at = [&](const std::optional<std::size_t>& offset) {
    return offset ? buffer.get() + *offset : nullptr;
  };
  const Head head{
      ways_, dim_, at(weight_), at(bias_), at(counts_), at(weight_velocity_), at(bias_velocity_)};
  const HeadSupport support{static_cast<std::size_t>(features.shape[0]), features.data, labels.data,
                            weights ? weights->data : nullptr};
  Adaptation result;
  result.losses = adapt_softmax_head(head, support, kernel_, steps);
  result.state = std::make_shared<const State>(layout, std::move(buffer));
  return result;
}

}  // namespace edge
