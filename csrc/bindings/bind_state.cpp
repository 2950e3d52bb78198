// State for Python.
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "edge/error.h"
#include "edge/state.h"

namespace edge::bindings {
namespace {

std::shared_ptr<State> from_arrays(const py::object& tensors) {
  if (!py::isinstance<py::dict>(tensors)) {
    throw Error(ErrorCode::kDtypeMismatch,
                "tensors must be a dict of float32 arrays, got " + type_name(tensors));
  }
  std::vector<TensorSpec> specs;
  std::vector<HeldArray<float>> held;
  std::vector<const float*> data;
  for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(tensors)) {
    if (!py::isinstance<py::str>(key)) {
      throw Error(ErrorCode::kDtypeMismatch, "tensor names must be str, got " + type_name(key));
    }
    const auto name = key.cast<std::string>();
    held.push_back(hold_array<float>(value, ("tensor " + name).c_str()));
    specs.push_back({name, held.back().view.shape});
    data.push_back(held.back().view.data);
  }
  return to_python(State::from_tensors(std::move(specs), data));
}

// pybind11's own TypeError would show the argument, so the type is checked here.
std::shared_ptr<State> from_bytes(const py::object& data) {
  if (!py::isinstance<py::bytes>(data)) {
    throw Error(ErrorCode::kDtypeMismatch, "data must be bytes, got " + type_name(data));
  }
  const auto view = static_cast<std::string_view>(py::reinterpret_borrow<py::bytes>(data));
  const py::gil_scoped_release nogil;
  return to_python(State::from_bytes(view));
}

py::bytes to_bytes(const State& state) {
  std::string bytes;
  {
    const py::gil_scoped_release nogil;
    bytes = state.to_bytes();
  }
  return bytes;
}

py::tuple names(const State& state) {
  py::tuple result(state.size());
  for (std::size_t i = 0; i < state.size(); ++i) result[i] = state.spec(i).name;
  return result;
}

// A read-only view of one tensor; it keeps the state alive.
py::array get(const py::object& self, const py::object& key) {
  if (!py::isinstance<py::str>(key)) {
    throw Error(ErrorCode::kDtypeMismatch, "a tensor's name must be a str, got " + type_name(key));
  }
  const auto& state = self.cast<const State&>();
  const auto name = key.cast<std::string>();
  const auto index = state.layout()->find(name);
  if (!index) throw py::key_error(name);
  py::array_t<float> array(state.spec(*index).shape, state.data(*index), self);
  // NOLINTNEXTLINE(bugprone-signed-bitwise): numpy's flags are an int
  py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return std::move(array);
}

py::object equals(const State& self, const py::object& other) {
  if (!py::isinstance<State>(other)) {
    return py::reinterpret_borrow<py::object>(Py_NotImplemented);
  }
  return py::bool_(self == other.cast<const State&>());
}

std::string describe(const State& state) {
  std::string text = "State(";
  for (std::size_t i = 0; i < state.size(); ++i) {
    text += (i == 0 ? "" : ", ") + state.spec(i).name + " " + to_text(state.spec(i).shape);
  }
  return text + ")";
}

}  // namespace

void bind_state(py::module_& module) {
  py::class_<State, std::shared_ptr<State>>(
      module, "State", py::is_final(),
      "What a learner adapts: named float32 tensors. Immutable, and safe to share between threads.")
      .def_static("from_arrays", &from_arrays, py::arg("tensors"),
                  "Copy named float32 arrays, in the order of the dict.")
      .def_static("from_bytes", &from_bytes, py::arg("data"),
                  "Read what `to_bytes` wrote; BadStateError if a byte is not as it was.")
      .def("to_bytes", &to_bytes, "The same bytes for equal states, with a checksum.")
      .def_property_readonly("names", &names, "Names of the tensors, in order.")
      .def("__getitem__", &get, py::arg("name"), "A read-only view of one tensor.")
      .def("__len__", &State::size)
      .def(
          "__contains__",
          [](const State& state, const py::object& name) {
            return py::isinstance<py::str>(name) &&
                   state.layout()->find(name.cast<std::string>()).has_value();
          },
          py::arg("name"))
      .def("__eq__", &equals, py::arg("other"), "Same names, shapes, order and bits.")
      .def("__repr__", &describe)
      .def(py::pickle([](const State& state) { return to_bytes(state); },
                      [](const py::bytes& data) { return from_bytes(data); }));
}

}  // namespace edge::bindings
