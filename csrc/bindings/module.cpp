// The Python module edge_sdk._core.
#include <pybind11/pybind11.h>

#include <exception>
#include <string_view>

#include "bindings.h"
#include "edge/error.h"

namespace py = pybind11;

namespace {

// The exception classes live in edge_sdk/errors.py; this is the one place where codes become them.
void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const edge::Error& error) {
    // A message may quote a name from a stranger's graph, in which any bytes can stand.
    const std::string_view text = error.what();
    const auto message = py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(text.data(), static_cast<py::ssize_t>(text.size()), "replace"));
    if (!message) throw py::error_already_set();
    const py::object raised = py::module_::import("edge_sdk.errors")
                                  .attr("from_code")(edge::code_name(error.code()), message);
    PyErr_SetObject(py::type::handle_of(raised).ptr(), raised.ptr());
  }
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() =
      "The C++ core: State and Engine; bounds, masks and compression of updates.";
  py::register_local_exception_translator(&translate);
  edge::bindings::bind_state(module);
  edge::bindings::bind_engine(module);
  edge::bindings::bind_cohort(module);
  edge::bindings::bind_graph_check(module);
  edge::bindings::bind_update(module);
  edge::bindings::bind_secure(module);
  py::tuple codes(edge::kAllErrorCodes.size());
  for (std::size_t i = 0; i < codes.size(); ++i)
    codes[i] = edge::code_name(edge::kAllErrorCodes[i]);
  module.attr("ERROR_CODES") = codes;
}
