// The check of a graph's bytes for Python.
#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

#include "bindings.h"
#include "graph_check.h"

namespace py = pybind11;

namespace edge::bindings {

void bind_graph_check(py::module_& module) {
  module.def(
      "check_graph",
      [](const std::string& file, const py::bytes& graph) {
        const auto view = static_cast<std::string_view>(graph);
        const py::gil_scoped_release nogil;
        check_graph(file, view);
      },
      py::arg("file"), py::arg("graph"),
      "Refuse the bytes of a graph that a bundle may not hold, before ONNX Runtime sees them.");
}

}  // namespace edge::bindings
