// Engine for Python: unpack with the GIL, compute without it.
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "edge/engine.h"
#include "edge/error.h"

namespace edge::bindings {
namespace {

using StateSpecs = std::vector<std::pair<std::string, Shape>>;
// weight, bias, rate, momentum, rate_per_slot
using KernelSpec = std::tuple<std::string, std::string, double, double, bool>;

std::unique_ptr<Engine> make_engine(
    const py::bytes& init, const std::optional<py::bytes>& embed, const py::bytes& adapt,
    const py::bytes& predict, const StateSpecs& state, std::int64_t ways, Shape input_shape,
    Shape feature_shape, std::int64_t steps, const std::string& adaptation, std::string library,
    std::vector<std::string> providers, int threads, const std::optional<KernelSpec>& kernel,
    std::optional<Accelerator> accelerator, std::int64_t outputs, bool variance) {
  Graphs graphs;
  graphs.init = static_cast<std::string_view>(init);
  if (embed) graphs.embed = static_cast<std::string_view>(*embed);
  graphs.adapt = static_cast<std::string_view>(adapt);
  graphs.predict = static_cast<std::string_view>(predict);
  EngineSpec spec;
  for (const auto& [name, shape] : state) spec.state.push_back({name, shape});
  spec.ways = ways;
  spec.input_shape = std::move(input_shape);
  spec.feature_shape = std::move(feature_shape);
  spec.steps = steps;
  spec.loop = inner_loop_of(adaptation);
  spec.outputs = outputs;
  spec.variance = variance;
  if (kernel) {
    const auto& [weight, bias, rate, momentum, rate_per_slot] = *kernel;
    spec.kernel = SoftmaxSgd{weight, bias, rate, momentum, rate_per_slot};
  }
  const RuntimeOptions options{std::move(library), std::move(providers), threads,
                               std::move(accelerator)};
  const py::gil_scoped_release nogil;
  return std::make_unique<Engine>(graphs, std::move(spec), options);
}

const State& as_state(const py::object& object, const char* name) {
  if (!py::isinstance<State>(object)) {
    throw Error(ErrorCode::kDtypeMismatch,
                std::string(name) + " must be a State, got " + type_name(object));
  }
  return object.cast<const State&>();
}

std::optional<std::int64_t> as_steps(const py::object& object) {
  if (object.is_none()) return std::nullopt;
  if (!py::isinstance<py::int_>(object) || py::isinstance<py::bool_>(object)) {
    throw Error(ErrorCode::kInvalidOption, "steps must be an int, got " + type_name(object));
  }
  int overflow = 0;
  const long long steps = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (overflow != 0) throw Error(ErrorCode::kInvalidOption, "steps is far too large or small");
  return steps;
}

py::array_t<float> embed(const Engine& engine, const py::object& x) {
  const HeldArray<float> held = hold_array<float>(x, "x");
  Tensor features;
  {
    const py::gil_scoped_release nogil;
    features = engine.embed(held.view);
  }
  return to_array(std::move(features));
}

py::array_t<float> predict(const Engine& engine, const py::object& features,
                           const py::object& state) {
  const HeldArray<float> held = hold_array<float>(features, "features");
  const State& current = as_state(state, "state");
  Tensor logits;
  {
    const py::gil_scoped_release nogil;
    logits = engine.predict(held.view, current);
  }
  return to_array(std::move(logits));
}

py::tuple predict_variance(const Engine& engine, const py::object& features,
                           const py::object& state) {
  const HeldArray<float> held = hold_array<float>(features, "features");
  const State& current = as_state(state, "state");
  Tensor predictions;
  Tensor variance;
  {
    const py::gil_scoped_release nogil;
    predictions = engine.predict(held.view, current, &variance);
  }
  return py::make_tuple(to_array(std::move(predictions)), to_array(std::move(variance)));
}

// `labels` are targets where the engine learns values.
py::tuple adapt(const Engine& engine, const py::object& features, const py::object& labels,
                const py::object& weights, const py::object& steps, const py::object& start) {
  const HeldArray<float> held_features = hold_array<float>(features, "features");
  const bool regression = engine.spec().outputs > 0;
  HeldArray<std::int64_t> held_labels;
  HeldArray<float> held_targets;
  if (regression) {
    held_targets = hold_array<float>(labels, "targets");
  } else {
    held_labels = hold_array<std::int64_t>(labels, "labels");
  }
  std::optional<HeldArray<float>> held_weights;
  std::optional<FloatView> weights_view;
  if (!weights.is_none()) {
    held_weights = hold_array<float>(weights, "weights");
    weights_view = held_weights->view;
  }
  const std::optional<std::int64_t> num_steps = as_steps(steps);
  const State* const from = start.is_none() ? nullptr : &as_state(start, "start");
  Adaptation result;
  {
    const py::gil_scoped_release nogil;
    result =
        regression
            ? engine.adapt(held_features.view, held_targets.view, weights_view, num_steps, from)
            : engine.adapt(held_features.view, held_labels.view, weights_view, num_steps, from);
  }
  const py::array_t<float> losses(static_cast<py::ssize_t>(result.losses.size()),
                                  result.losses.data());
  return py::make_tuple(to_python(result.state), losses);
}

void bind_accelerator(py::module_& module) {
  const auto make = [](std::string name, std::string provider, std::string plugin,
                       std::vector<std::pair<std::string, std::string>> options, std::int64_t batch,
                       bool share_with_cpu, std::string file, std::string compile_to) {
    return Accelerator{
        std::move(name), std::move(provider), std::move(plugin), std::move(options),
        batch,           share_with_cpu,      std::move(file),   std::move(compile_to)};
  };
  py::class_<Accelerator>(module, "Accelerator", py::is_final(),
                          "An execution provider for the embed graph, in place of the CPU's.")
      .def(py::init(make), py::kw_only(), py::arg("name"), py::arg("provider"), py::arg("plugin"),
           py::arg("options"), py::arg("batch"), py::arg("share_with_cpu"), py::arg("file"),
           py::arg("compile_to") = "");
}

py::list embed_nodes(const Engine& engine) {
  py::list nodes;
  for (const NodeGroup& group : engine.embed_nodes()) {
    nodes.append(py::make_tuple(group.provider, group.operation, group.count));
  }
  return nodes;
}

}  // namespace

void bind_engine(py::module_& module) {
  bind_accelerator(module);
  py::class_<Engine>(module, "Engine", py::is_final(),
                     "A bundle's graphs, loaded. Every method may be called from any thread.")
      .def(py::init(&make_engine), py::kw_only(), py::arg("init"), py::arg("embed").none(true),
           py::arg("adapt"), py::arg("predict"), py::arg("state"), py::arg("ways"),
           py::arg("input_shape"), py::arg("feature_shape"), py::arg("steps"),
           py::arg("adaptation"), py::arg("library"), py::arg("providers"), py::arg("threads"),
           py::arg("kernel") = py::none(), py::arg("accelerator") = py::none(),
           py::arg("outputs") = 0, py::arg("variance") = false)
      .def(
          "initial_state", [](const Engine& engine) { return to_python(engine.initial_state()); },
          "The meta-learned starting point.")
      .def("embed", &embed, py::arg("x"), "Features of `x`, `[n, *input_shape]`.")
      .def("adapt", &adapt, py::arg("features"), py::arg("labels"), py::arg("weights") = py::none(),
           py::arg("steps") = py::none(), py::arg("start") = py::none(),
           "Run the inner loop on one support set; gives the new state and the losses.")
      .def("predict", &predict, py::arg("features"), py::arg("state"),
           "Logits, `[n, ways]`; of a regression the mean, `[n, outputs]`.")
      .def("predict_variance", &predict_variance, py::arg("features"), py::arg("state"),
           "What `predict` gives, and its variance, of the same shape.")
      .def_property_readonly("embed_nodes", &embed_nodes,
                             "(provider, operation, count) of what an accelerator's graph runs.")
      .def_property_readonly("embed_batch", &Engine::embed_batch,
                             "What n is fixed to in the embed graph; 0: any n.")
      .def_property_readonly("runtime_version", &Engine::runtime_version,
                             "Version of the loaded ONNX Runtime.");
}

}  // namespace edge::bindings
