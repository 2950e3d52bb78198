// Masks and compression for Python.
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "edge/compress.h"
#include "edge/mask.h"

namespace edge::bindings {
namespace {

std::string_view bytes_view(const py::handle& object, const char* name) {
  if (!py::isinstance<py::bytes>(object)) {
    throw Error(ErrorCode::kDtypeMismatch,
                std::string(name) + " must be bytes, got " + type_name(object));
  }
  return py::reinterpret_borrow<py::bytes>(object);
}

std::vector<MaskSeed> as_seeds(const py::handle& object, const char* name) {
  const std::string_view raw = bytes_view(object, name);
  constexpr std::size_t size = sizeof(MaskSeed);
  if (raw.size() % size != 0) {
    throw Error(ErrorCode::kShapeMismatch,
                std::string(name) + " must be seeds of 32 bytes, one after the other");
  }
  std::vector<MaskSeed> seeds(raw.size() / size);
  for (std::size_t i = 0; i < seeds.size(); ++i) {
    std::memcpy(seeds[i].data(), raw.data() + (i * size), size);
  }
  return seeds;
}

RandomSeed as_seed(const py::handle& object) {
  const auto seeds = as_seeds(object, "seed");
  if (seeds.size() != 1) throw Error(ErrorCode::kShapeMismatch, "seed must be 32 bytes");
  return seeds[0];
}

// Numbers are checked here, because pybind11's own TypeError would show the values beside them.
double as_number(const py::handle& object, const char* name) {
  if (!PyFloat_Check(object.ptr())) {
    throw Error(ErrorCode::kInvalidOption,
                std::string(name) + " must be a float, got " + type_name(object));
  }
  return PyFloat_AS_DOUBLE(object.ptr());
}

template <typename Int>
Int as_integer(const py::handle& object, const char* name) {
  if (!PyLong_CheckExact(object.ptr())) {
    throw Error(ErrorCode::kInvalidOption,
                std::string(name) + " must be an int, got " + type_name(object));
  }
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (overflow != 0 || value < 0 || value > std::numeric_limits<Int>::max()) {
    throw Error(ErrorCode::kInvalidOption, std::string(name) + " is out of range");
  }
  return static_cast<Int>(value);
}

template <typename T>
HeldArray<T> hold_vector(const py::handle& object, const char* name) {
  auto held = hold_array<T>(object, name);
  if (held.view.shape.size() != 1) {
    throw Error(ErrorCode::kShapeMismatch,
                std::string(name) + " must have one axis, got shape " + to_text(held.view.shape));
  }
  return held;
}

template <typename T>
py::array_t<T> new_vector(std::size_t count) {
  return py::array_t<T>(static_cast<py::ssize_t>(count));
}

template <typename T>
py::array_t<T> copy_vector(const HeldArray<T>& held) {
  const auto count = static_cast<std::size_t>(held.view.shape[0]);
  auto copy = new_vector<T>(count);
  if (count != 0) std::memcpy(copy.mutable_data(), held.view.data, count * sizeof(T));
  return copy;
}

template <typename Word>
py::array masked(const py::object& values, const std::vector<MaskSeed>& add,
                 const std::vector<MaskSeed>& subtract) {
  auto out = copy_vector(hold_vector<Word>(values, "values"));
  Word* const data = out.mutable_data();
  const auto count = static_cast<std::size_t>(out.size());
  {
    const py::gil_scoped_release nogil;
    apply_masks(data, count, add, subtract);
  }
  return std::move(out);
}

py::array apply_masks_to(const py::object& values, const py::object& add,
                         const py::object& subtract) {
  const auto plus = as_seeds(add, "add");
  const auto minus = as_seeds(subtract, "subtract");
  if (py::isinstance<py::array_t<std::uint16_t>>(values)) {
    return masked<std::uint16_t>(values, plus, minus);
  }
  if (py::isinstance<py::array_t<std::uint64_t>>(values)) {
    return masked<std::uint64_t>(values, plus, minus);
  }
  return masked<std::uint32_t>(values, plus, minus);  // refuses whatever else it is
}

py::tuple round_values(const py::object& values, const py::object& step, const py::object& limit,
                       const py::object& seed) {
  const Grid grid{as_number(step, "step"), as_integer<std::int32_t>(limit, "limit")};
  const auto held = hold_vector<float>(values, "values");
  const RandomSeed random = as_seed(seed);
  const auto count = static_cast<std::size_t>(held.view.shape[0]);
  auto out = new_vector<std::int32_t>(count);
  auto residual = new_vector<float>(count);
  std::int32_t* const out_data = out.mutable_data();
  float* const residual_data = residual.mutable_data();
  {
    const py::gil_scoped_release nogil;
    round_to_grid(held.view.data, count, grid, random, out_data, residual_data);
  }
  return py::make_tuple(out, residual);
}

py::array_t<float> rotated(const py::object& values, const py::object& seed,
                           const py::object& back) {
  const bool undo = back.is(py::bool_(true));
  auto out = copy_vector(hold_vector<float>(values, "values"));
  const RandomSeed random = as_seed(seed);
  float* const data = out.mutable_data();
  const auto count = static_cast<std::size_t>(out.size());
  {
    const py::gil_scoped_release nogil;
    (undo ? rotate_back : rotate)(data, count, random);
  }
  return out;
}

py::array_t<std::int64_t> largest(const py::object& values, const py::object& num) {
  const auto k = static_cast<std::size_t>(as_integer<std::int64_t>(num, "k"));
  const auto held = hold_vector<float>(values, "values");
  const auto count = static_cast<std::size_t>(held.view.shape[0]);
  std::vector<std::int64_t> places;
  {
    const py::gil_scoped_release nogil;
    places = largest_entries(held.view.data, count, k);
  }
  auto out = new_vector<std::int64_t>(places.size());
  std::memcpy(out.mutable_data(), places.data(), places.size() * sizeof(std::int64_t));
  return out;
}

}  // namespace

void bind_secure(py::module_& module) {
  module.def("apply_masks", &apply_masks_to, py::arg("values"), py::kw_only(), py::arg("add"),
             py::arg("subtract"),
             "A copy of uint16, uint32 or uint64 [n] with the masks of 32-byte seeds added or "
             "subtracted, modulo 2^bits.");
  module.def("round_to_grid", &round_values, py::arg("values"), py::kw_only(), py::arg("step"),
             py::arg("limit"), py::arg("seed"),
             "Stochastic rounding of float32 [n] to multiples of step: int32 [n], and what it "
             "took, float32 [n].");
  module.def("rotate", &rotated, py::arg("values"), py::kw_only(), py::arg("seed"),
             py::arg("back") = py::bool_(false),
             "A copy of float32 [n], turned by the randomised Hadamard rotation of a seed.");
  module.def("largest_entries", &largest, py::arg("values"), py::arg("k"),
             "Places of the k entries of float32 [n] of largest magnitude, int64 [k], ascending.");
}

}  // namespace edge::bindings
