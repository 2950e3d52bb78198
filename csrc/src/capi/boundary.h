// Where exceptions become statuses, and pointers from C become views.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "edge/tensor.h"
#include "edge_sdk.h"

namespace edge::capi {

/// Reports the exception that is being handled: its status, and its text to edge_last_error.
edge_status report_current_exception() noexcept;

/// Runs `call`; whatever it throws becomes a status.
template <typename Call>
edge_status guarded(const Call& call) noexcept {
  try {
    call();
    return EDGE_OK;
  } catch (...) {
    return report_current_exception();
  }
}

/// Thrown by `require`.
struct NullArgument {
  const char* name;
};

/// Refuses NULL.
template <typename T>
T& require(T* pointer, const char* name) {
  if (pointer == nullptr) throw NullArgument{name};
  return *pointer;
}

/// Views `count` numbers at `data` as `[n, *example_shape]`.
/// @throws NullArgument; Error  kShapeMismatch unless `count` is a multiple of `example_size`
FloatView rows(const float* data, std::size_t count, const Shape& example_shape,
               std::size_t example_size, const char* name);

/// Views `count` items at `data` as `[count]`.
template <typename T>
View<T> row(const T* data, std::size_t count, const char* name) {
  if (count > 0) require(data, name);
  return {data, {static_cast<std::int64_t>(count)}};
}

/// Checks the number of elements of an array that is to be written.
/// @throws NullArgument; Error  kShapeMismatch
void check_output(const float* data, std::size_t count, std::size_t wanted, const char* name);

/// Copies `content` to memory that edge_bytes_free takes.
/// @throws std::bad_alloc
std::uint8_t* copy_bytes(std::string_view content);

}  // namespace edge::capi
