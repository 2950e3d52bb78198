// Walks the protobuf of an ONNX model, through the messages that can hold a tensor.
#include "self_contained.h"

#include <cstdint>
#include <utility>

#include "edge/error.h"

namespace edge {
namespace {

// As deep as the runtime's own parser goes.
constexpr int kMaxDepth = 100;

enum class Message : std::uint8_t {
  kModel,
  kGraph,
  kNode,
  kAttribute,
  kTensor,
  kSparseTensor,
  kFunction,
  kTraining
};

struct Child {
  Message parent;
  std::uint8_t field;
  Message child;
};

// Fields of onnx.proto that lead to tensors.
constexpr Child kChildren[] = {
    {Message::kModel, 7, Message::kGraph},
    {Message::kModel, 20, Message::kTraining},
    {Message::kModel, 25, Message::kFunction},
    {Message::kTraining, 1, Message::kGraph},
    {Message::kTraining, 2, Message::kGraph},
    {Message::kGraph, 1, Message::kNode},
    {Message::kGraph, 5, Message::kTensor},
    {Message::kGraph, 15, Message::kSparseTensor},
    {Message::kNode, 5, Message::kAttribute},
    {Message::kAttribute, 5, Message::kTensor},
    {Message::kAttribute, 6, Message::kGraph},
    {Message::kAttribute, 10, Message::kTensor},
    {Message::kAttribute, 11, Message::kGraph},
    {Message::kAttribute, 22, Message::kSparseTensor},
    {Message::kAttribute, 23, Message::kSparseTensor},
    {Message::kSparseTensor, 1, Message::kTensor},
    {Message::kSparseTensor, 2, Message::kTensor},
    {Message::kFunction, 7, Message::kNode},
    {Message::kFunction, 11, Message::kAttribute},
};
constexpr std::uint64_t kExternalData = 13;            // of a tensor: where its data lies
constexpr std::uint64_t kDataLocation = 14;            // of a tensor: 0 inside, 1 outside
constexpr std::uint64_t kName = 1;                     // of an attribute
constexpr std::uint64_t kInt = 3;                      // of an attribute
constexpr std::string_view kEmbedMode = "embed_mode";  // of a compiled node: 0 outside, 1 inside

class Walker {
 public:
  explicit Walker(std::string file) : file_(std::move(file)) {}

  // NOLINTNEXTLINE(misc-no-recursion): the depth is bounded
  void walk(Message message, std::string_view bytes, int depth) const {
    if (depth > kMaxDepth) refuse("is nested too deeply");
    bool is_embed_mode = false;
    std::uint64_t value = 0;
    while (!bytes.empty()) {
      const std::uint64_t tag = varint(bytes);
      const std::uint64_t field = tag >> 3U;
      std::uint64_t number = 0;
      std::string_view content;
      switch (tag & 7U) {
        case 0:
          number = varint(bytes);
          break;
        case 1:
          take(bytes, 8);
          break;
        case 2:
          content = take(bytes, varint(bytes));
          break;
        case 5:
          take(bytes, 4);
          break;
        default:
          refuse("is not an ONNX graph");
      }
      if (message == Message::kTensor &&
          (field == kExternalData || (field == kDataLocation && number != 0))) {
        refuse("holds a tensor whose data lies in another file; a bundle's graphs hold all of it");
      }
      if (message == Message::kAttribute && field == kName) is_embed_mode = content == kEmbedMode;
      if (message == Message::kAttribute && field == kInt) value = number;
      for (const Child& child : kChildren) {
        if (child.parent == message && child.field == field) walk(child.child, content, depth + 1);
      }
    }
    if (is_embed_mode && value == 0) {
      refuse("holds a compiled node whose binary lies in another file; a bundle's graphs hold it");
    }
  }

 private:
  [[noreturn]] void refuse(const char* what) const {
    throw Error(ErrorCode::kBadBundle, file_ + ": " + what);
  }

  std::string_view take(std::string_view& bytes, std::uint64_t count) const {
    if (count > bytes.size()) refuse("is not an ONNX graph");
    const std::string_view taken = bytes.substr(0, static_cast<std::size_t>(count));
    bytes.remove_prefix(taken.size());
    return taken;
  }

  std::uint64_t varint(std::string_view& bytes) const {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(bytes, 1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    refuse("is not an ONNX graph");
  }

  std::string file_;
};

}  // namespace

void check_self_contained(const std::string& file, std::string_view graph) {
  Walker(file).walk(Message::kModel, graph, 0);
}

}  // namespace edge
