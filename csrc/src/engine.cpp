// Engine: loads the graphs, then embeds, adapts and predicts.
#include "edge/engine.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "batches.h"
#include "checks.h"
#include "edge/error.h"
#include "graph.h"
#include "graph_check.h"
#include "native_kernel.h"
#include "ort/runtime.h"
#include "ort/session.h"

namespace edge {
namespace {

using Handles = std::vector<ort::ValueHandle*>;

std::vector<PortSpec> state_ports(const StateLayout& layout, const char* prefix, bool required) {
  std::vector<PortSpec> ports;
  for (const TensorSpec& spec : layout.specs()) {
    ports.push_back({prefix + spec.name, ort::kElementFloat, spec.shape, required});
  }
  return ports;
}

std::vector<PortSpec> operator+(std::vector<PortSpec> ports, std::vector<PortSpec> more) {
  ports.insert(ports.end(), std::make_move_iterator(more.begin()),
               std::make_move_iterator(more.end()));
  return ports;
}

Shape with_count(std::int64_t n, const Shape& example_shape) {
  Shape shape = batch_of(example_shape);
  shape[0] = n;
  return shape;
}

Tensor make_tensor(Shape shape) {
  const std::size_t count = element_count(shape);
  return {std::move(shape), make_buffer(count)};
}

// Values that borrow the tensors of a state buffer; `skip(i)` leaves out tensor i.
class StateValues {
 public:
  template <typename Skip>
  StateValues(const ort::Runtime& runtime, const StateLayout& layout, const float* buffer,
              const Skip& skip)
      : values_(layout.size()) {
    for (std::size_t i = 0; i < layout.size(); ++i) {
      if (skip(i)) continue;
      values_[i] =
          ort::Value(runtime, buffer + layout.offset(i), layout.specs()[i].shape, layout.count(i));
    }
  }

  void append_to(Handles& handles) const {
    for (const ort::Value& value : values_) handles.push_back(value.get());
  }

  void swap_into(Handles& handles) const {
    for (std::size_t i = 0; i < values_.size(); ++i) handles[i] = values_[i].get();
  }

 private:
  std::vector<ort::Value> values_;
};

constexpr auto kAll = [](std::size_t) { return false; };

// A state under construction: the buffer that a step writes.
struct Slate {
  Slate(const ort::Runtime& runtime, const StateLayout& layout)
      : buffer(make_buffer(layout.buffer_size())), values(runtime, layout, buffer.get(), kAll) {}

  FloatBuffer buffer;
  StateValues values;
};

}  // namespace

struct Engine::Impl {
  Impl(const Graphs& graphs, EngineSpec bundle_spec, const RuntimeOptions& options);

  StatePtr run_init(const Graph& init) const;
  Adaptation run_adapt(const FloatView& features, const LabelView& labels,
                       const std::optional<FloatView>& weights, std::int64_t steps,
                       const State& from) const;

  EngineSpec spec;
  LayoutPtr layout;
  const ort::Runtime* runtime;
  std::optional<Graph> embed;
  std::unique_ptr<const NativeKernel> native;  // null: adapt.onnx runs
  std::optional<Graph> adapt;                  // unless `native` takes its place
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

// Not loaded where a kernel takes its place, but looked at all the same.
std::optional<Graph> load_adapt(const ort::Runtime& runtime, std::string_view bytes, int threads,
                                const EngineSpec& spec, const StateLayout& layout) {
  if (spec.kernel) {
    check_graph("adapt.onnx", bytes);
    return std::nullopt;
  }
  return Graph(
      runtime, "adapt.onnx", bytes, threads,
      state_ports(layout, "state.", false) +
          std::vector<PortSpec>{features_port(spec),
                                {"labels", ort::kElementInt64, {kAnyCount}},
                                {"weights", ort::kElementFloat, {kAnyCount}}},
      state_ports(layout, "next.", true) + std::vector<PortSpec>{{"loss", ort::kElementFloat, {}}});
}

}  // namespace

Engine::Impl::Impl(const Graphs& graphs, EngineSpec bundle_spec, const RuntimeOptions& options)
    : spec(std::move(bundle_spec)),
      layout(make_layout(spec.state)),
      runtime(&open_runtime(spec, graphs, options)),
      native(make_native_kernel(spec, *layout)),
      adapt(load_adapt(*runtime, graphs.adapt, options.threads, spec, *layout)),
      predict(*runtime, "predict.onnx", graphs.predict, options.threads,
              state_ports(*layout, "state.", false) + std::vector<PortSpec>{features_port(spec)},
              {{"logits", ort::kElementFloat, {kAnyCount, spec.ways}}}) {
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
  Tensor features = make_tensor(with_count(n, spec.feature_shape));
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
    const Shape in_shape = with_count(batch, spec.input_shape);
    const Shape out_shape = with_count(batch, spec.feature_shape);
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

Tensor Engine::predict(const FloatView& features, const State& state) const {
  const Impl& impl = *impl_;
  const std::int64_t n =
      check_batch(features, impl.spec.feature_shape, "features", ErrorCode::kShapeMismatch);
  check_state(state, impl.layout);
  Tensor logits = make_tensor({n, impl.spec.ways});
  const std::size_t count = element_count(logits.shape);
  const StateValues state_values(*impl.runtime, *impl.layout, state.data(0),
                                 [&](std::size_t i) { return !impl.predict.reads(i); });
  const ort::Value input(*impl.runtime, features.data, features.shape,
                         element_count(features.shape));
  const ort::Value output(*impl.runtime, logits.data.get(), logits.shape, count);
  Handles inputs;
  inputs.reserve(state.size() + 1);
  state_values.append_to(inputs);
  inputs.push_back(input.get());
  impl.predict.run(inputs, {output.get()});
  if (!all_finite(logits.data.get(), count)) {
    throw Error(ErrorCode::kNonFinite, "predict.onnx gave logits that are not finite");
  }
  return logits;
}

Adaptation Engine::adapt(const FloatView& features, const LabelView& labels,
                         const std::optional<FloatView>& weights, std::optional<std::int64_t> steps,
                         const State* start) const {
  const Impl& impl = *impl_;
  const std::int64_t num_steps = check_steps(steps, impl.spec);
  const std::int64_t n =
      check_batch(features, impl.spec.feature_shape, "features", ErrorCode::kEmptySupport);
  check_labels(labels, n, impl.spec.ways);
  if (weights) check_weights(*weights, n);
  if (start != nullptr) check_state(*start, impl.layout);
  const State& from = start != nullptr ? *start : *impl.initial;
  Adaptation result =
      impl.native ? impl.native->adapt(features, labels, weights, num_steps, from, impl.layout)
                  : impl.run_adapt(features, labels, weights, num_steps, from);
  if (const auto bad = result.state->non_finite()) {
    throw Error(ErrorCode::kDiverged, "state tensor " + result.state->spec(*bad).name +
                                          " is not finite after step " + std::to_string(num_steps) +
                                          "; the state is unchanged");
  }
  return result;
}

Adaptation Engine::Impl::run_adapt(const FloatView& features, const LabelView& labels,
                                   const std::optional<FloatView>& weights, std::int64_t steps,
                                   const State& from) const {
  const std::int64_t n = labels.shape[0];
  const auto rows = static_cast<std::size_t>(n);
  const std::vector<float> ones(weights ? 0 : rows, 1.0F);
  const StateValues from_values(*runtime, *layout, from.data(0),
                                [&](std::size_t i) { return !adapt->reads(i); });
  const ort::Value features_value(*runtime, features.data, features.shape,
                                  element_count(features.shape));
  const ort::Value labels_value(*runtime, labels.data, labels.shape, rows);
  const ort::Value weights_value(*runtime, weights ? weights->data : ones.data(), {n}, rows);
  float loss = 0;  // NOLINT(misc-const-correctness): the runtime writes it
  const ort::Value loss_value(*runtime, &loss, {}, 1);

  // Step k reads the slate that step k-1 wrote and writes the other: nothing is copied in between.
  Slate written(*runtime, *layout);
  const auto spare = steps > 1 ? std::make_unique<Slate>(*runtime, *layout) : nullptr;
  Handles inputs;
  from_values.append_to(inputs);
  for (const ort::Value* value : {&features_value, &labels_value, &weights_value}) {
    inputs.push_back(value->get());
  }
  Handles outputs;
  written.values.append_to(outputs);
  outputs.push_back(loss_value.get());

  Adaptation result;
  result.losses.reserve(static_cast<std::size_t>(steps));
  for (std::int64_t step = 1; step <= steps; ++step) {
    if (step > 1) {
      written.values.swap_into(inputs);
      std::swap(written, *spare);
      written.values.swap_into(outputs);
    }
    adapt->run(inputs, outputs);
    check_loss(loss, step);
    result.losses.push_back(loss);
  }
  result.state = std::make_shared<const State>(layout, std::move(written.buffer));
  return result;
}

}  // namespace edge
