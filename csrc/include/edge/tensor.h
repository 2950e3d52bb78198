// Shapes, borrowed views and owned float tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

namespace edge {

/// Sizes of the axes, outermost first; `[]` is a scalar.
using Shape = std::vector<std::int64_t>;

/// Number of elements of `shape`.
/// @throws Error  kShapeMismatch if an axis is negative, or the elements do not fit in memory
std::size_t element_count(const Shape& shape);

/// As in messages: "[3, 4]".
std::string to_text(const Shape& shape);

/// True if no value is NaN or infinite.
bool all_finite(const float* data, std::size_t count) noexcept;

/// Buffers start on this boundary, so that no vector kernel meets a split cache line.
inline constexpr std::size_t kAlignment = 64;

struct AlignedDelete {
  void operator()(float* data) const noexcept {
    ::operator delete(data, std::align_val_t{kAlignment});
  }
};

/// Owned floats, aligned, not initialised.
using FloatBuffer = std::unique_ptr<float[], AlignedDelete>;

/// @throws std::bad_alloc
FloatBuffer make_buffer(std::size_t count);

/// Borrows a dense row-major array; the owner outlives the call.
template <typename T>
struct View {
  const T* data = nullptr;
  Shape shape;
};

using FloatView = View<float>;
using LabelView = View<std::int64_t>;

/// Owns a dense row-major float array.
struct Tensor {
  Shape shape;
  FloatBuffer data;
};

}  // namespace edge
