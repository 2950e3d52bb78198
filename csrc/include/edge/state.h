// State: what a learner adapts. Immutable, shared, with an exact byte round trip.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "edge/tensor.h"

namespace edge {

/// Name and shape of one state tensor.
struct TensorSpec {
  std::string name;
  Shape shape;

  friend bool operator==(const TensorSpec& a, const TensorSpec& b) {
    return a.name == b.name && a.shape == b.shape;
  }
};

/// Where the tensors of a state lie in its one buffer. Immutable, shared by all states of an
/// engine.
class StateLayout {
 public:
  static constexpr std::size_t kMaxTensors = 4096;
  static constexpr std::size_t kMaxNameLength = 256;
  static constexpr std::size_t kMaxRank = 8;
  static constexpr std::size_t kMaxElements = std::size_t{1} << 30U;

  /// @param specs  at least one; distinct names of printable ASCII without spaces; every axis >= 1
  /// @throws Error  kBadState where a name, a shape or a cap is violated
  explicit StateLayout(std::vector<TensorSpec> specs);

  std::size_t size() const noexcept { return specs_.size(); }
  const std::vector<TensorSpec>& specs() const noexcept { return specs_; }
  /// Elements of tensor `i`.
  std::size_t count(std::size_t i) const { return counts_[i]; }
  /// Where tensor `i` starts, in floats; a multiple of the alignment.
  std::size_t offset(std::size_t i) const { return offsets_[i]; }
  /// Floats of the whole buffer, padding included.
  std::size_t buffer_size() const noexcept { return buffer_size_; }
  std::optional<std::size_t> find(std::string_view name) const noexcept;

 private:
  std::vector<TensorSpec> specs_;
  std::vector<std::size_t> counts_;
  std::vector<std::size_t> offsets_;
  std::size_t buffer_size_ = 0;
};

using LayoutPtr = std::shared_ptr<const StateLayout>;

class State;
using StatePtr = std::shared_ptr<const State>;

/// Named float32 tensors in a given order. Safe to use from any number of threads.
class State {
 public:
  /// Takes a filled buffer of `layout->buffer_size()` floats.
  State(LayoutPtr layout, FloatBuffer buffer);

  /// Copies `data[i]`, `specs[i].shape`, row-major.
  /// @throws Error  kBadState as StateLayout does
  static StatePtr from_tensors(std::vector<TensorSpec> specs,
                               const std::vector<const float*>& data);

  /// Reads what `to_bytes` wrote.
  /// @throws Error  kBadState if a byte was changed, lost or added, or the format is not known
  static StatePtr from_bytes(std::string_view bytes);

  /// Little-endian, the same bytes for equal states:
  /// "EDGESTAT", u32 format, u32 tensors, then for each: u32 name length, name, u32 rank, i64 axes;
  /// then the values of each tensor as float32; then the CRC-32 of all that, u32.
  std::string to_bytes() const;

  const LayoutPtr& layout() const noexcept { return layout_; }
  std::size_t size() const noexcept { return layout_->size(); }
  const TensorSpec& spec(std::size_t i) const { return layout_->specs()[i]; }
  const float* data(std::size_t i) const { return buffer_.get() + layout_->offset(i); }
  /// Index of the first tensor that holds NaN or infinity; found once, when the state was made.
  std::optional<std::size_t> non_finite() const noexcept { return non_finite_; }

  /// Same names, shapes, order and bits (so -0 is not 0, and a NaN equals itself).
  friend bool operator==(const State& a, const State& b);
  friend bool operator!=(const State& a, const State& b) { return !(a == b); }

 private:
  LayoutPtr layout_;
  FloatBuffer buffer_;
  std::optional<std::size_t> non_finite_;
};

}  // namespace edge
