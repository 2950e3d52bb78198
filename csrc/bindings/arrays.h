// Between numpy arrays and the core's views and tensors. Nothing is ever cast.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <utility>

#include "edge/error.h"
#include "edge/tensor.h"

namespace edge::bindings {

namespace py = pybind11;

/// Name of an object's type, for messages that must not show the object.
inline std::string type_name(const py::handle& object) {
  return py::str(py::type::handle_of(object).attr("__name__"));
}

/// A dense row-major array that keeps its view alive.
template <typename T>
struct HeldArray {
  py::array_t<T, py::array::c_style> array;
  View<T> view;
};

/// Borrows a numpy array of exactly dtype T; only one that is not C-contiguous, or not aligned, is
/// copied.
/// Arguments are taken as plain objects and checked here, because pybind11's own TypeError prints
/// the arguments it was given, which are user data.
/// @throws Error  kDtypeMismatch
template <typename T>
HeldArray<T> hold_array(const py::handle& object, const char* name) {
  const auto refuse = [&](const std::string& got) {
    throw Error(ErrorCode::kDtypeMismatch, std::string(name) + " must be a numpy array of dtype " +
                                               std::string(py::str(py::dtype::of<T>())) + ", got " +
                                               got);
  };
  if (!py::isinstance<py::array>(object)) refuse(type_name(object));
  const auto any = py::reinterpret_borrow<py::array>(object);
  // What a masked array hides would be used.
  const bool is_subclass = Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_;
  if (is_subclass && py::hasattr(object, "mask")) refuse("a " + type_name(object));
  if (!py::isinstance<py::array_t<T>>(object)) refuse("dtype " + std::string(py::str(any.dtype())));
  HeldArray<T> held;
  held.array = py::array_t<T, py::array::c_style>::ensure(object);
  if (!held.array) throw py::error_already_set();
  if (reinterpret_cast<std::uintptr_t>(held.array.data()) % alignof(T) != 0) {
    held.array = py::array_t<T, py::array::c_style>(any.attr("copy")("C"));
  }
  held.view.data = held.array.data();
  held.view.shape.assign(held.array.shape(), held.array.shape() + held.array.ndim());
  return held;
}

/// Hands a tensor over to numpy without a copy.
inline py::array_t<float> to_array(Tensor tensor) {
  float* const data = tensor.data.get();
  const py::capsule owner(data, [](void* owned) { AlignedDelete()(static_cast<float*>(owned)); });
  static_cast<void>(tensor.data.release());
  return py::array_t<float>(tensor.shape, data, owner);
}

}  // namespace edge::bindings
