// Checks a tensor that is stored in an ONNX graph.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protobuf.h"

namespace edge {

/// Numbers in one tensor, stored or declared: what a bundle's file can hold in 8 bits each.
inline constexpr std::uint64_t kMaxTensorElements = 64ULL << 20U;

/// What the rest of the graph's check needs of a stored tensor.
struct StoredTensor {
  std::string name;
  bool is_int64 = false;
  std::vector<std::int64_t> values;  ///< of an int64 tensor with few numbers, else empty
};

/// Whether a tensor may be of this ONNX element type: real numbers and booleans of 4 to 64 bits.
bool is_allowed_dtype(std::uint64_t data_type) noexcept;

/// Reads a TensorProto: its data are inside, as many as its shape says, and finite.
/// @throws Error  kBadBundle
StoredTensor check_tensor(const protobuf::Source& source, std::string_view bytes);

/// The numbers of a repeated int64 field, packed or not, appended to `values`.
/// @throws Error  kBadBundle
void append_int64(const protobuf::Source& source, const protobuf::Field& field,
                  std::vector<std::int64_t>& values);

/// Refuses NaN and infinity in a float field, repeated or not, packed or not.
/// @return how many numbers it held
/// @throws Error  kBadBundle
std::uint64_t check_floats(const protobuf::Source& source, const protobuf::Field& field,
                           const std::string& where);

/// A name from a bundle, fit for a message: printable and short.
std::string shown(std::string_view name);

}  // namespace edge
