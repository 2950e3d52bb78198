// The clip for Python: lists of float32 arrays in, new arrays out.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "edge/clip.h"
#include "edge/error.h"

namespace edge::bindings {
namespace {

// The arrays that spans borrow from; the list keeps arrays alive that were copied.
struct HeldDelta {
  std::vector<HeldArray<float>> arrays;
  std::vector<FloatSpan> spans;
};

HeldDelta hold_delta(const py::object& object) {
  if (!py::isinstance<py::list>(object)) {
    throw Error(ErrorCode::kDtypeMismatch, "tensors must be a list, got " + type_name(object));
  }
  HeldDelta held;
  const auto tensors = py::reinterpret_borrow<py::list>(object);
  held.arrays.reserve(tensors.size());
  for (const py::handle tensor : tensors) {
    held.arrays.push_back(hold_array<float>(tensor, "each tensor"));
    const HeldArray<float>& last = held.arrays.back();
    held.spans.push_back({last.view.data, static_cast<std::size_t>(last.array.size())});
  }
  return held;
}

double norm_of(const py::object& tensors) {
  const HeldDelta held = hold_delta(tensors);
  const py::gil_scoped_release nogil;
  return joint_norm(held.spans);
}

py::tuple clip(const py::object& tensors, double bound) {
  const HeldDelta held = hold_delta(tensors);
  const double norm = joint_norm(held.spans);
  if (!std::isfinite(norm)) throw Error(ErrorCode::kNonFinite, "a tensor holds NaN or infinity");
  py::list clipped(held.spans.size());
  for (std::size_t i = 0; i < held.spans.size(); ++i) {
    const HeldArray<float>& source = held.arrays[i];
    py::array_t<float> result(source.view.shape);
    const FloatSpan& span = held.spans[i];
    if (norm > bound) {
      scale_toward_zero(span, bound / norm, result.mutable_data());
    } else if (span.size > 0) {
      std::memcpy(result.mutable_data(), span.data, span.size * sizeof(float));
    }
    clipped[i] = std::move(result);
  }
  return py::make_tuple(norm, clipped);
}

bool add_rounded_to(const py::object& total, const py::object& tensors, double scale,
                    double bound_squared) {
  const HeldArray<std::int64_t> sum = hold_array<std::int64_t>(total, "total");
  const HeldDelta held = hold_delta(tensors);
  std::size_t size = 0;
  for (const FloatSpan& span : held.spans) size += span.size;
  // A copy would take the sum in place of what was given.
  const bool same = sum.array.ptr() == total.ptr();
  if (!same || !sum.array.writeable() || static_cast<std::size_t>(sum.array.size()) != size) {
    throw Error(ErrorCode::kShapeMismatch, "total must be a dense, writeable int64 array of " +
                                               std::to_string(size) + " numbers");
  }
  py::array_t<std::int64_t, py::array::c_style> writeable = sum.array;
  std::int64_t* const out = writeable.mutable_data();
  const py::gil_scoped_release nogil;
  return add_rounded(held.spans, scale, bound_squared, out);
}

}  // namespace

void bind_clip(py::module_& module) {
  module.def("joint_norm", &norm_of, py::arg("tensors"),
             "L2 norm over all tensors; not finite iff a number is not.");
  module.def("clip", &clip, py::arg("tensors"), py::arg("bound"),
             "The norm, and copies scaled so that theirs is at most `bound`.");
  module.def("add_rounded", &add_rounded_to, py::arg("total"), py::arg("tensors"), py::arg("scale"),
             py::arg("bound_squared"),
             "Add tensors, scaled and rounded toward zero, to `total`, one after the other; or add "
             "nothing and return False where their sum of squares is above the bound.");
}

}  // namespace edge::bindings
