// Reads protobuf messages strictly: every field is known, of the right kind, and there once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "edge/error.h"

namespace edge::protobuf {

/// Names the file in every refusal.
class Source {
 public:
  explicit Source(std::string file) : file_(std::move(file)) {}

  /// @throws Error  kBadBundle "<file>: <what>"
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorCode::kBadBundle, file_ + ": " + what);
  }

 private:
  std::string file_;
};

enum class Kind : std::uint8_t { kVarint, kFixed64, kBytes, kFixed32 };
enum class Count : std::uint8_t { kOnce, kMany };

/// A field that a message may have. A repeated number may also come packed, as bytes.
struct Rule {
  std::uint8_t number;
  Kind kind;
  Count count;
};

struct Field {
  std::uint32_t number = 0;
  Kind kind = Kind::kVarint;  ///< as it stands in the bytes
  std::uint64_t value = 0;    ///< of a varint, fixed64 or fixed32
  std::string_view bytes;     ///< of kBytes: borrows from the message
};

/// Takes the next varint from the front of `bytes`.
/// @throws Error  kBadBundle if there is no whole one
std::uint64_t take_varint(const Source& source, std::string_view& bytes);

/// Takes the next field from the front of `bytes`, which must not be empty.
/// @throws Error  kBadBundle if there is no whole one
Field take_field(const Source& source, std::string_view& bytes);

/// Calls `visit(field)` for each field of a message, in order.
///
/// A parser merges a message that is there twice and takes the last of two numbers, so that what a
/// check reads may not be what the runtime reads. Our exporter writes neither; both are refused, as
/// are fields that are not in `rules`, where a newer runtime might find what this did not check.
/// @throws Error  kBadBundle if the bytes are not such a message
template <std::size_t kCount, typename Visit>
void for_each_field(const Source& source, const Rule (&rules)[kCount], const char* message,
                    std::string_view bytes, const Visit& visit) {
  bool seen[kCount] = {};
  while (!bytes.empty()) {
    const Field field = take_field(source, bytes);
    std::size_t i = 0;
    while (i < kCount && rules[i].number != field.number) ++i;
    if (i == kCount) {
      source.refuse(std::string("holds field ") + std::to_string(field.number) + " of " + message +
                    ", which a bundle's graph does not use");
    }
    const bool packed = rules[i].count == Count::kMany && field.kind == Kind::kBytes;
    if (field.kind != rules[i].kind && !packed) source.refuse("is not an ONNX graph");
    if (rules[i].count == Count::kOnce && seen[i]) {
      source.refuse(std::string("holds field ") + std::to_string(field.number) + " of " + message +
                    " twice");
    }
    seen[i] = true;
    visit(field);
  }
}

}  // namespace edge::protobuf
