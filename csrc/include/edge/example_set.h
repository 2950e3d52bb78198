// ExampleSet: one user's examples as features and slots, with an exact byte round trip.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "edge/tensor.h"

namespace edge {

/// What examples are bound to: features of one backbone never mix with those of another.
struct ExampleBinding {
  std::string embed_identity;  ///< as `Bundle::embed_identity` gives it
  Shape feature_shape;         ///< of one example
  std::int64_t ways = 0;       ///< label slots
};

/// Not thread-safe: one thread at a time may call methods that are not const.
class ExampleSet {
 public:
  static constexpr std::size_t kMaxExamples = std::size_t{1} << 24U;
  static constexpr std::size_t kMaxFloats = std::size_t{1} << 28U;

  explicit ExampleSet(ExampleBinding binding);

  /// Appends examples in order, or throws and changes nothing.
  /// @param features  `[n, *feature_shape]`, finite, n >= 1; not memory of this set
  /// @param slots     `[n]`, each in 0..ways-1
  /// @throws Error  kShapeMismatch, kNonFinite, kLabelRange; kInvalidOption beyond a cap
  void add(const FloatView& features, const LabelView& slots);

  /// Forgets all examples of a slot; the others keep their order.
  /// @return how many there were
  std::size_t remove_slot(std::int64_t slot);

  const ExampleBinding& binding() const noexcept { return binding_; }
  std::size_t size() const noexcept { return slots_.size(); }
  /// `[size(), *feature_shape]`, in the order taught; valid until the next change.
  FloatView features() const;
  /// `[size()]`; valid until the next change.
  LabelView slots() const;
  const float* feature_data() const noexcept { return features_.data(); }
  const std::int64_t* slot_data() const noexcept { return slots_.data(); }

  /// Reads what `to_bytes` wrote, for the bundle that `binding` describes.
  /// @throws Error  kBadState if a byte was changed, lost or added, the format is not known, or the
  ///                examples belong to another backbone, shape or range of slots
  static ExampleSet from_bytes(std::string_view bytes, ExampleBinding binding);

  /// The same bytes for equal sets; the format is in docs/EMBEDDING.md.
  std::string to_bytes() const;

 private:
  ExampleBinding binding_;
  std::size_t feature_size_;
  std::vector<float> features_;
  std::vector<std::int64_t> slots_;
};

}  // namespace edge
