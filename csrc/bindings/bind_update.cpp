// The clip of an update for Python.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "edge/error.h"
#include "edge/update.h"

namespace edge::bindings {
namespace {

struct HeldUpdate {
  std::vector<py::str> names;
  std::vector<HeldArray<float>> arrays;
  std::vector<NamedView> views;
};

HeldUpdate hold_update(const py::object& delta) {
  if (!py::isinstance<py::dict>(delta)) {
    throw Error(ErrorCode::kDtypeMismatch,
                "an update must be a dict of float32 arrays, got " + type_name(delta));
  }
  HeldUpdate held;
  for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(delta)) {
    if (!py::isinstance<py::str>(key)) {
      throw Error(ErrorCode::kDtypeMismatch, "tensor names must be str, got " + type_name(key));
    }
    held.names.push_back(py::reinterpret_borrow<py::str>(key));
    const std::string name = "delta['" + key.cast<std::string>() + "']";
    held.arrays.push_back(hold_array<float>(value, name.c_str()));
    held.views.push_back({name, held.arrays.back().view});
  }
  return held;
}

py::tuple clip(const py::object& delta, double clipping_norm) {
  const HeldUpdate held = hold_update(delta);
  Clipped clipped;
  {
    const py::gil_scoped_release nogil;
    clipped = clip_update(held.views, clipping_norm);
  }
  py::dict tensors;
  for (std::size_t i = 0; i < held.names.size(); ++i) {
    tensors[held.names[i]] = to_array(std::move(clipped.tensors[i]));
  }
  return py::make_tuple(tensors, clipped.norm);
}

void add_to_sum(const py::object& total, const py::object& delta, double clipping_norm,
                std::int32_t steps_in_norm) {
  using Sum = py::array_t<std::int64_t, py::array::c_style>;
  if (!py::isinstance<Sum>(total)) {
    throw Error(ErrorCode::kDtypeMismatch, "total must be a contiguous int64 array");
  }
  auto sum = py::reinterpret_borrow<Sum>(total);
  if (!sum.writeable()) {
    throw Error(ErrorCode::kDtypeMismatch, "total must be writeable");
  }
  const HeldUpdate held = hold_update(delta);
  std::int64_t* const data = sum.mutable_data();
  const auto size = static_cast<std::size_t>(sum.size());
  const py::gil_scoped_release nogil;
  add_on_grid(held.views, clipping_norm, steps_in_norm, data, size);
}

}  // namespace

void bind_update(py::module_& module) {
  module.def("clip_update", &clip, py::arg("delta"), py::arg("clipping_norm"),
             "Bound the joint L2 norm of an update; returns it, and its norm before.");
  module.def("add_on_grid", &add_to_sum, py::arg("total"), py::arg("delta"),
             py::arg("clipping_norm"), py::arg("steps_in_norm"),
             "Add a clipped update, rounded towards zero to integers, to a sum in place.");
}

}  // namespace edge::bindings
