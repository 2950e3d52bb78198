// Engine: loads the graphs, then embeds, adapts and predicts.
#include "edge/engine.h"

#include <cstring>
#include <utility>
#include <variant>

#include "adapt_graph.h"
#include "batches.h"
#include "checks.h"
#include "edge/error.h"
#include "graph.h"
#include "graph_check.h"
#include "native_head.h"
#include "ort/runtime.h"
#include "ort/session.h"
#include "state_values.h"

namespace edge {
namespace {

Tensor make_tensor(Shape shape) {
  const std::size_t count = element_count(shape);
  return {std::move(shape), make_buffer(count)};
}

}  // namespace

struct Engine::Impl {
  Impl(const Graphs& graphs, EngineSpec bundle_spec, const RuntimeOptions& options);

  StatePtr run_init(const Graph& init) const;
  Adaptation adapt_checked(const Support& support, std::int64_t num_steps,
                           const State* start) const;

  EngineSpec spec;
  LayoutPtr layout;
  const ort::Runtime* runtime;
  std::optional<Graph> embed;
  std::optional<NativeHead> native;
  std::optional<AdaptGraph> adapt;  // unless `native` takes its place
  Graph predict;
  StatePtr initial;
};

namespace {

LayoutPtr make_layout(const std::vector<TensorSpec>& specs) {
  try {
    return std::make_shared<const StateLayout>(specs);
  } catch (const Error& error) {
    throw Error(ErrorCode::kBadBundle, std::string("manifest.json: ") + error.what());
  }
}

const ort::Runtime& open_runtime(const EngineSpec& spec, const Graphs& graphs,
                                 const RuntimeOptions& options) {
  check_options(options);
  check_spec(spec, graphs.embed.has_value());
  return ort::Runtime::open(options.library);
}

PortSpec features_port(const EngineSpec& spec) {
  return {"features", ort::kElementFloat, batch_of(spec.feature_shape)};
}

std::vector<PortSpec> prediction_ports(const EngineSpec& spec) {
  const bool values = spec.outputs > 0;
  const Shape shape = {kAnyCount, values ? spec.outputs : spec.ways};
  std::vector<PortSpec> ports = {{values ? "mean" : "logits", ort::kElementFloat, shape}};
  if (spec.variance) ports.push_back({"variance", ort::kElementFloat, shape});
  return ports;
}

std::optional<NativeHead> load_native(const EngineSpec& spec, const StateLayout& layout) {
  if (!spec.kernel) return std::nullopt;
  return NativeHead(spec, layout);
}

// Not loaded where a kernel takes its place, but looked at all the same.
std::optional<AdaptGraph> load_adapt(const ort::Runtime& runtime, std::string_view bytes,
                                     int threads, const EngineSpec& spec,
                                     const StateLayout& layout) {
  if (spec.kernel) {
    check_graph("adapt.onnx", bytes);
    return std::nullopt;
  }
  return AdaptGraph(runtime, bytes, threads, spec, layout);
}

}  // namespace

Engine::Impl::Impl(const Graphs& graphs, EngineSpec bundle_spec, const RuntimeOptions& options)
    : spec(std::move(bundle_spec)),
      layout(make_layout(spec.state)),
      runtime(&open_runtime(spec, graphs, options)),
      native(load_native(spec, *layout)),
      adapt(load_adapt(*runtime, graphs.adapt, options.threads, spec, *layout)),
      predict(*runtime, "predict.onnx", graphs.predict, options.threads,
              state_ports(*layout, "state.", false) + std::vector<PortSpec>{features_port(spec)},
              prediction_ports(spec)) {
  if (graphs.embed) {
    const Accelerator* const accelerator = options.accelerator ? &*options.accelerator : nullptr;
    embed.emplace(*runtime, accelerator != nullptr ? accelerator->file : "embed.onnx",
                  *graphs.embed, options.threads,
                  std::vector<PortSpec>{{"x", ort::kElementFloat, batch_of(spec.input_shape)}},
                  std::vector<PortSpec>{features_port(spec)}, accelerator);
  }
  initial = run_init(Graph(*runtime, "init.onnx", graphs.init, options.threads, {},
                           state_ports(*layout, "state.", true)));
}

StatePtr Engine::Impl::run_init(const Graph& init) const {
  Slate slate(*runtime, *layout);
  Handles outputs;
  slate.values.append_to(outputs);
  init.run({}, outputs);
  auto state = std::make_shared<const State>(layout, std::move(slate.buffer));
  if (state->non_finite()) {
    throw Error(ErrorCode::kBadBundle, "init.onnx: state tensor " +
                                           state->spec(*state->non_finite()).name +
                                           " holds NaN or infinity");
  }
  return state;
}

Engine::Engine(const Graphs& graphs, EngineSpec spec, const RuntimeOptions& options)
    : impl_(std::make_unique<const Impl>(graphs, std::move(spec), options)) {}

Engine::~Engine() = default;

StatePtr Engine::initial_state() const { return impl_->initial; }

const std::string& Engine::runtime_version() const noexcept { return impl_->runtime->version(); }

std::vector<NodeGroup> Engine::embed_nodes() const {
  return impl_->embed ? impl_->embed->nodes() : std::vector<NodeGroup>();
}

std::int64_t Engine::embed_batch() const noexcept {
  return impl_->embed ? impl_->embed->batch() : 0;
}

Tensor Engine::embed(const FloatView& x) const {
  const EngineSpec& spec = impl_->spec;
  const std::int64_t n = check_batch(x, spec.input_shape, "x", ErrorCode::kShapeMismatch);
  Tensor features = make_tensor(batch_of(spec.feature_shape, n));
  const std::size_t count = element_count(features.shape);
  if (!impl_->embed) {
    std::memcpy(features.data.get(), x.data, count * sizeof(float));
    return features;
  }
  const auto run = [this](const float* in, const Shape& in_shape, float* out,
                          const Shape& out_shape) {
    const ort::Value input(*impl_->runtime, in, in_shape, element_count(in_shape));
    const ort::Value output(*impl_->runtime, out, out_shape, element_count(out_shape));
    impl_->embed->run({input.get()}, {output.get()});
  };
  if (const std::int64_t batch = impl_->embed->batch(); batch > 0) {
    const Shape in_shape = batch_of(spec.input_shape, batch);
    const Shape out_shape = batch_of(spec.feature_shape, batch);
    run_in_batches(x, features, batch,
                   [&](const float* in, float* out) { run(in, in_shape, out, out_shape); });
  } else {
    run(x.data, x.shape, features.data.get(), features.shape);
  }
  if (!all_finite(features.data.get(), count)) {
    throw Error(ErrorCode::kNonFinite, "embed.onnx gave features that are not finite");
  }
  return features;
}

Tensor Engine::predict(const FloatView& features, const State& state, Tensor* variance) const {
  const Impl& impl = *impl_;
  const std::int64_t n =
      check_batch(features, impl.spec.feature_shape, "features", ErrorCode::kShapeMismatch);
  check_state(state, impl.layout);
  if (variance != nullptr && !impl.spec.variance) {
    throw Error(ErrorCode::kInvalidOption, "this bundle gives no variance");
  }
  const Shape shape = {n, impl.spec.outputs > 0 ? impl.spec.outputs : impl.spec.ways};
  const std::size_t count = element_count(shape);
  std::vector<Tensor> results;
  std::vector<ort::Value> outputs;
  for (int i = 0; i < (impl.spec.variance ? 2 : 1); ++i) {
    results.push_back(make_tensor(shape));
    outputs.emplace_back(*impl.runtime, results.back().data.get(), shape, count);
  }
  const StateValues state_values(*impl.runtime, *impl.layout, state.data(0),
                                 [&](std::size_t i) { return !impl.predict.reads(i); });
  const ort::Value input(*impl.runtime, features.data, features.shape,
                         element_count(features.shape));
  Handles inputs;
  inputs.reserve(state.size() + 1);
  state_values.append_to(inputs);
  inputs.push_back(input.get());
  Handles handles;
  for (const ort::Value& output : outputs) handles.push_back(output.get());
  impl.predict.run(inputs, handles);
  for (const Tensor& result : results) {
    if (!all_finite(result.data.get(), count)) {
      throw Error(ErrorCode::kNonFinite,
                  std::string("predict.onnx gave ") +
                      (&result == results.data() ? "predictions" : "variances") +
                      " that are not finite");
    }
  }
  if (variance != nullptr) *variance = std::move(results[1]);
  return std::move(results[0]);
}

const EngineSpec& Engine::spec() const noexcept { return impl_->spec; }

Adaptation Engine::adapt(const FloatView& features, const LabelView& labels,
                         const std::optional<FloatView>& weights, std::optional<std::int64_t> steps,
                         const State* start) const {
  const EngineSpec& spec = impl_->spec;
  const std::int64_t num_steps = check_steps(steps, spec);
  check_teaches(spec, Task::kClassification);
  const std::int64_t n =
      check_batch(features, spec.feature_shape, "features", ErrorCode::kEmptySupport);
  check_labels(labels, n, spec.ways);
  return impl_->adapt_checked({features, labels, weights}, num_steps, start);
}

Adaptation Engine::adapt(const FloatView& features, const FloatView& targets,
                         const std::optional<FloatView>& weights, std::optional<std::int64_t> steps,
                         const State* start) const {
  const EngineSpec& spec = impl_->spec;
  const std::int64_t num_steps = check_steps(steps, spec);
  check_teaches(spec, Task::kRegression);
  const std::int64_t n =
      check_batch(features, spec.feature_shape, "features", ErrorCode::kEmptySupport);
  check_targets(targets, n, spec.outputs);
  return impl_->adapt_checked({features, targets, weights}, num_steps, start);
}

// Features and answers were checked.
Adaptation Engine::Impl::adapt_checked(const Support& support, std::int64_t num_steps,
                                       const State* start) const {
  if (support.weights) check_weights(*support.weights, support.features.shape[0]);
  if (start != nullptr) check_state(*start, layout);
  const State& from = start != nullptr ? *start : *initial;
  Adaptation result = native ? native->adapt(support.features, std::get<LabelView>(support.answers),
                                             support.weights, num_steps, from, layout)
                             : adapt->adapt(support, num_steps, from, layout);
  if (const auto bad = result.state->non_finite()) {
    throw Error(ErrorCode::kDiverged,
                "state tensor " + result.state->spec(*bad).name + " is not finite after step " +
                    std::to_string(result.losses.size()) + "; the state is unchanged");
  }
  return result;
}

}  // namespace edge
