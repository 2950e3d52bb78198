// Shape arithmetic, with every product checked, and buffers.
#include "edge/tensor.h"

#include <cstring>
#include <limits>

#include "edge/error.h"

namespace edge {
namespace {

// The largest number of elements whose size in bytes (of int64 or float) is still a signed size.
constexpr std::size_t kMaxElements =
    static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(std::int64_t);

}  // namespace

std::size_t element_count(const Shape& shape) {
  std::size_t count = 1;
  bool has_zero = false;
  for (const std::int64_t dim : shape) {
    if (dim < 0) {
      throw Error(ErrorCode::kShapeMismatch, "shape " + to_text(shape) + " has a negative axis");
    }
    const auto size = static_cast<std::uint64_t>(dim);
    if (size == 0) {
      has_zero = true;
      continue;
    }
    if (size > kMaxElements / count) {
      throw Error(ErrorCode::kShapeMismatch,
                  "shape " + to_text(shape) + " has more elements than memory can hold");
    }
    count *= static_cast<std::size_t>(size);
  }
  return has_zero ? 0 : count;
}

std::string to_text(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

bool all_finite(const float* data, std::size_t count) noexcept {
  // A float is NaN or infinite iff its exponent bits are all ones. Blocks of a fixed size without
  // an early exit are what the compiler turns into vector code.
  constexpr std::uint32_t kExponent = 0x7f800000U;
  constexpr std::size_t kBlock = 256;
  const auto is_bad = [](float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<std::uint32_t>((bits & kExponent) == kExponent);
  };
  while (count >= kBlock) {
    std::uint32_t bad = 0;
    for (std::size_t i = 0; i < kBlock; ++i) bad |= is_bad(data[i]);
    if (bad != 0) return false;
    data += kBlock;
    count -= kBlock;
  }
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < count; ++i) bad |= is_bad(data[i]);
  return bad == 0;
}

FloatBuffer make_buffer(std::size_t count) {
  if (count > kMaxElements) throw std::bad_alloc();
  void* raw = ::operator new(count * sizeof(float), std::align_val_t{kAlignment});
  return FloatBuffer(static_cast<float*>(raw));
}

}  // namespace edge
