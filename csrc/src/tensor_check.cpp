// TensorProto of onnx.proto: shape, element type and data must tell the same story.
#include "tensor_check.h"

#include <cstring>

namespace edge {
namespace {

using protobuf::Count;
using protobuf::Field;
using protobuf::Kind;
using protobuf::Rule;
using protobuf::Source;

constexpr std::size_t kMaxRank = 16;
constexpr std::size_t kFewNumbers = 2 * kMaxRank;  // enough for the pads of any shape

enum TensorField : std::uint8_t {
  kDims = 1,
  kDataType = 2,
  kFloatData = 4,
  kInt32Data = 5,
  kStringData = 6,
  kInt64Data = 7,
  kName = 8,
  kRawData = 9,
  kDoubleData = 10,
  kUint64Data = 11,
  kDocString = 12,
  kExternalData = 13,
  kDataLocation = 14,
  kMetadata = 16,
};

constexpr Rule kRules[] = {
    {kDims, Kind::kVarint, Count::kMany},         {kDataType, Kind::kVarint, Count::kOnce},
    {kFloatData, Kind::kFixed32, Count::kMany},   {kInt32Data, Kind::kVarint, Count::kMany},
    {kStringData, Kind::kBytes, Count::kMany},    {kInt64Data, Kind::kVarint, Count::kMany},
    {kName, Kind::kBytes, Count::kOnce},          {kRawData, Kind::kBytes, Count::kOnce},
    {kDoubleData, Kind::kFixed64, Count::kMany},  {kUint64Data, Kind::kVarint, Count::kMany},
    {kDocString, Kind::kBytes, Count::kOnce},     {kExternalData, Kind::kBytes, Count::kMany},
    {kDataLocation, Kind::kVarint, Count::kOnce}, {kMetadata, Kind::kBytes, Count::kMany},
};

constexpr std::uint64_t kFloat32 = 1;
constexpr std::uint64_t kInt64 = 7;
constexpr std::uint64_t kFloat16 = 10;
constexpr std::uint64_t kFloat64 = 11;
constexpr std::uint64_t kBfloat16 = 16;

struct Dtype {
  std::uint8_t code;
  std::uint8_t bits;
  TensorField field;  // that holds the data where raw_data does not
};

constexpr Dtype kDtypes[] = {
    {kFloat32, 32, kFloatData},  {2, 8, kInt32Data},    {3, 8, kInt32Data},
    {4, 16, kInt32Data},         {5, 16, kInt32Data},   {6, 32, kInt32Data},
    {kInt64, 64, kInt64Data},    {9, 8, kInt32Data},    {kFloat16, 16, kInt32Data},
    {kFloat64, 64, kDoubleData}, {12, 32, kUint64Data}, {13, 64, kUint64Data},
    {kBfloat16, 16, kInt32Data}, {21, 4, kInt32Data},   {22, 4, kInt32Data},
};

const Dtype* find_dtype(std::uint64_t code) noexcept {
  for (const Dtype& dtype : kDtypes) {
    if (dtype.code == code) return &dtype;
  }
  return nullptr;
}

// The bits of a float type's exponent: all set in NaN and infinity, and in nothing else.
std::uint64_t exponent_mask(std::uint64_t dtype) noexcept {
  switch (dtype) {
    case kFloat32:
      return 0x7F800000U;
    case kFloat16:
      return 0x7C00U;
    case kFloat64:
      return 0x7FF0000000000000U;
    case kBfloat16:
      return 0x7F80U;
    default:
      return 0;  // whole numbers are always finite
  }
}

template <typename Bits>
bool all_finite(std::string_view raw, std::uint64_t exponent) noexcept {
  const auto mask = static_cast<Bits>(exponent);
  bool finite = true;
  for (std::size_t at = 0; at + sizeof(Bits) <= raw.size(); at += sizeof(Bits)) {
    Bits bits = 0;
    std::memcpy(&bits, raw.data() + at, sizeof(Bits));
    finite = finite && (bits & mask) != mask;
  }
  return finite;
}

// Everything a TensorProto holds; views borrow from its bytes.
struct Parts {
  std::vector<std::int64_t> dims;
  std::uint64_t data_type = 0;
  std::string_view name;
  bool has_raw = false;
  std::string_view raw;
  std::vector<Field> typed;  // float_data, int32_data ...
};

Parts read_parts(const Source& source, std::string_view bytes) {
  Parts parts;
  for_each_field(source, kRules, "a tensor", bytes, [&](const Field& field) {
    switch (field.number) {
      case kDims:
        append_int64(source, field, parts.dims);
        break;
      case kDataType:
        parts.data_type = field.value;
        break;
      case kName:
        parts.name = field.bytes;
        break;
      case kRawData:
        parts.has_raw = true;
        parts.raw = field.bytes;
        break;
      case kExternalData:
      case kDataLocation:
        if (field.kind == Kind::kBytes || field.value != 0) {
          source.refuse(
              "holds a tensor whose data lies in another file; a bundle's graphs hold all of it");
        }
        break;
      case kDocString:
      case kMetadata:
        break;
      default:
        parts.typed.push_back(field);
    }
  });
  return parts;
}

std::uint64_t count_elements(const Source& source, const Parts& parts, const std::string& which) {
  if (parts.dims.size() > kMaxRank) source.refuse(which + " has too many axes");
  std::uint64_t elements = 1;
  for (const std::int64_t size : parts.dims) {
    if (size < 0) source.refuse(which + " has an axis of negative size");
    // both factors are at most 2^26 here, so this cannot overflow
    if (static_cast<std::uint64_t>(size) > kMaxTensorElements) elements = kMaxTensorElements + 1;
    if (elements > kMaxTensorElements) break;
    elements *= static_cast<std::uint64_t>(size);
  }
  if (elements > kMaxTensorElements) {
    source.refuse(which + " has a giant shape; at most " + std::to_string(kMaxTensorElements) +
                  " numbers are allowed");
  }
  return elements;
}

// Of one typed field, packed or not; float16 and bfloat16 are the low bits of whole numbers.
std::uint64_t check_typed(const Source& source, const Field& field, std::uint64_t dtype,
                          const std::string& which, std::vector<std::int64_t>& values) {
  if (field.number == kFloatData) return check_floats(source, field, which);
  const std::uint64_t mask = exponent_mask(dtype);
  const auto check = [&](std::uint64_t bits) {
    if (mask != 0 && (bits & mask) == mask) source.refuse(which + " holds NaN or infinity");
    if (values.size() <= kFewNumbers) values.push_back(static_cast<std::int64_t>(bits));
  };
  if (field.kind != Kind::kBytes) {
    check(field.value);
    return 1;
  }
  if (field.number == kDoubleData) {
    if (field.bytes.size() % 8 != 0) source.refuse("is not an ONNX graph");
    if (!all_finite<std::uint64_t>(field.bytes, mask)) {
      source.refuse(which + " holds NaN or infinity");
    }
    return field.bytes.size() / 8;
  }
  std::uint64_t count = 0;
  for (std::string_view rest = field.bytes; !rest.empty(); ++count) {
    check(protobuf::take_varint(source, rest));
  }
  return count;
}

bool raw_is_finite(std::string_view raw, std::uint64_t dtype) noexcept {
  const std::uint64_t mask = exponent_mask(dtype);
  if (mask == 0) return true;
  if (dtype == kFloat64) return all_finite<std::uint64_t>(raw, mask);
  if (dtype == kFloat32) return all_finite<std::uint32_t>(raw, mask);
  return all_finite<std::uint16_t>(raw, mask);
}

}  // namespace

bool is_allowed_dtype(std::uint64_t data_type) noexcept { return find_dtype(data_type) != nullptr; }

StoredTensor check_tensor(const Source& source, std::string_view bytes) {
  const Parts parts = read_parts(source, bytes);
  const std::string which = "tensor " + shown(parts.name);
  const Dtype* dtype = find_dtype(parts.data_type);
  if (dtype == nullptr) source.refuse(which + " has an element type that bundles do not use");
  const std::uint64_t elements = count_elements(source, parts, which);
  const std::uint64_t bits = elements * dtype->bits;  // at most 2^32
  StoredTensor stored{std::string(parts.name), parts.data_type == kInt64, {}};
  std::uint64_t found = 0;
  for (const Field& field : parts.typed) {
    if (field.number != dtype->field || parts.has_raw) {
      source.refuse(which + " has data in a field that is not of its element type");
    }
    found += check_typed(source, field, parts.data_type, which, stored.values);
  }
  const std::uint64_t wanted = dtype->bits < 8 ? (bits + 7) / 8 : elements;
  if (parts.has_raw ? parts.raw.size() != (bits + 7) / 8 : found != wanted) {
    source.refuse(which + " does not hold as many numbers as its shape says");
  }
  if (!raw_is_finite(parts.raw, parts.data_type)) {
    source.refuse(which + " holds NaN or infinity");
  }
  if (!stored.is_int64 || elements > kFewNumbers) {
    stored.values.clear();
  } else if (parts.has_raw) {
    stored.values.resize(static_cast<std::size_t>(elements));
    if (elements > 0) std::memcpy(stored.values.data(), parts.raw.data(), parts.raw.size());
  }
  return stored;
}

void append_int64(const Source& source, const Field& field, std::vector<std::int64_t>& values) {
  if (field.kind != Kind::kBytes) {
    values.push_back(static_cast<std::int64_t>(field.value));
    return;
  }
  for (std::string_view rest = field.bytes; !rest.empty();) {
    values.push_back(static_cast<std::int64_t>(protobuf::take_varint(source, rest)));
  }
}

std::uint64_t check_floats(const Source& source, const Field& field, const std::string& where) {
  const std::uint64_t mask = exponent_mask(kFloat32);
  bool finite = (field.value & mask) != mask;
  if (field.kind == Kind::kBytes) {
    if (field.bytes.size() % 4 != 0) source.refuse("is not an ONNX graph");
    finite = all_finite<std::uint32_t>(field.bytes, mask);
  }
  if (!finite) source.refuse(where + " holds NaN or infinity");
  return field.kind == Kind::kBytes ? field.bytes.size() / 4 : 1;
}

std::string shown(std::string_view name) {
  constexpr std::size_t kLongest = 64;
  std::string text(name.substr(0, kLongest));
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return name.size() > kLongest ? text + "..." : text;
}

}  // namespace edge
