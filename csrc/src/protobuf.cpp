// Protobuf's wire format: tags, varints, and lengths that are checked before they are used.
#include "protobuf.h"

namespace edge::protobuf {
namespace {

constexpr std::uint64_t kMaxFieldNumber = (1U << 29U) - 1;

std::string_view take(const Source& source, std::string_view& bytes, std::uint64_t count) {
  if (count > bytes.size()) source.refuse("is not an ONNX graph");
  const std::string_view taken = bytes.substr(0, static_cast<std::size_t>(count));
  bytes.remove_prefix(taken.size());
  return taken;
}

// Little-endian, whatever the host is.
std::uint64_t fixed(const Source& source, std::string_view& bytes, unsigned size) {
  const std::string_view taken = take(source, bytes, size);
  std::uint64_t value = 0;
  for (unsigned i = size; i-- > 0;) value = value << 8U | static_cast<unsigned char>(taken[i]);
  return value;
}

}  // namespace

std::uint64_t take_varint(const Source& source, std::string_view& bytes) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(take(source, bytes, 1)[0]);
    value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
    if ((byte & 0x80U) == 0) return value;
  }
  source.refuse("is not an ONNX graph");
}

Field take_field(const Source& source, std::string_view& bytes) {
  const std::uint64_t tag = take_varint(source, bytes);
  const std::uint64_t number = tag >> 3U;
  if (number == 0 || number > kMaxFieldNumber) source.refuse("is not an ONNX graph");
  Field field;
  field.number = static_cast<std::uint32_t>(number);
  switch (tag & 7U) {
    case 0:
      field.kind = Kind::kVarint;
      field.value = take_varint(source, bytes);
      break;
    case 1:
      field.kind = Kind::kFixed64;
      field.value = fixed(source, bytes, 8);
      break;
    case 2:
      field.kind = Kind::kBytes;
      field.bytes = take(source, bytes, take_varint(source, bytes));
      break;
    case 5:
      field.kind = Kind::kFixed32;
      field.value = fixed(source, bytes, 4);
      break;
    default:  // 3 and 4 are groups, which ONNX never had
      source.refuse("is not an ONNX graph");
  }
  return field;
}

}  // namespace edge::protobuf
