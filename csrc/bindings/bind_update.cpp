// The clip of an update for Python.
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

double norm_of(const py::object& delta) {
  const HeldUpdate held = hold_update(delta);
  const py::gil_scoped_release nogil;
  return joint_norm(held.views);
}

bool add_rounded_to(const py::object& total, const py::object& delta, double scale,
                    double bound_squared) {
  HeldArray<std::int64_t> sum = hold_array<std::int64_t>(total, "total");
  const HeldUpdate held = hold_update(delta);
  py::ssize_t size = 0;
  for (const HeldArray<float>& tensor : held.arrays) size += tensor.array.size();
  // A copy would take the sum in place of what was given.
  const bool same = sum.array.ptr() == total.ptr();
  if (!same || !sum.array.writeable() || sum.array.size() != size) {
    throw Error(ErrorCode::kShapeMismatch, "total must be a dense, writeable int64 array of " +
                                               std::to_string(size) + " numbers");
  }
  std::int64_t* const out = sum.array.mutable_data();
  const py::gil_scoped_release nogil;
  return add_rounded(held.views, scale, bound_squared, out);
}

}  // namespace

void bind_update(py::module_& module) {
  module.def("clip_update", &clip, py::arg("delta"), py::arg("clipping_norm"),
             "Bound the joint L2 norm of an update; returns it, and its norm before.");
  module.def("joint_norm", &norm_of, py::arg("delta"),
             "L2 norm of a whole update; not finite iff one of its numbers is not.");
  module.def("add_rounded", &add_rounded_to, py::arg("total"), py::arg("delta"), py::arg("scale"),
             py::arg("bound_squared"),
             "Add an update, scaled and rounded towards zero, to `total`, tensor after tensor; or "
             "add nothing and return False where its sum of squares is above the bound.");
}

}  // namespace edge::bindings
