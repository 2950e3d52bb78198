// States as values that a graph reads or writes in place.
#pragma once

#include <cstddef>
#include <vector>

#include "edge/state.h"
#include "ort/session.h"

namespace edge {

using Handles = std::vector<ort::ValueHandle*>;

/// Values that borrow the tensors of a state buffer; `skip(i)` leaves out tensor i.
class StateValues {
 public:
  template <typename Skip>
  StateValues(const ort::Runtime& runtime, const StateLayout& layout, const float* buffer,
              const Skip& skip)
      : values_(layout.size()) {
    for (std::size_t i = 0; i < layout.size(); ++i) {
      if (skip(i)) continue;
      values_[i] =
          ort::Value(runtime, buffer + layout.offset(i), layout.specs()[i].shape, layout.count(i));
    }
  }

  void append_to(Handles& handles) const {
    for (const ort::Value& value : values_) handles.push_back(value.get());
  }

  void swap_into(Handles& handles) const {
    for (std::size_t i = 0; i < values_.size(); ++i) handles[i] = values_[i].get();
  }

 private:
  std::vector<ort::Value> values_;
};

inline constexpr auto kAll = [](std::size_t) { return false; };

/// A state under construction: the buffer that a step writes.
struct Slate {
  Slate(const ort::Runtime& runtime, const StateLayout& layout)
      : buffer(make_buffer(layout.buffer_size())), values(runtime, layout, buffer.get(), kAll) {}

  FloatBuffer buffer;
  StateValues values;
};

}  // namespace edge
