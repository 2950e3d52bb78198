// Walks ModelProto of onnx.proto down to every node and tensor.
#include "graph_check.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "onnx_ops.h"
#include "protobuf.h"
#include "tensor_check.h"

namespace edge {
namespace {

using protobuf::Count;
using protobuf::Field;
using protobuf::Kind;
using protobuf::Rule;
using protobuf::Source;

constexpr int kMaxDepth = 8;  // of graphs in graphs
constexpr std::size_t kMaxNodes = 1U << 15U;
constexpr std::size_t kMaxTensors = 1U << 15U;

constexpr Rule once(std::uint8_t number, Kind kind) { return {number, kind, Count::kOnce}; }
constexpr Rule many(std::uint8_t number, Kind kind) { return {number, kind, Count::kMany}; }

constexpr Rule kModel[] = {
    once(1, Kind::kVarint),  // IR version
    once(2, Kind::kBytes),   // producer's name
    once(3, Kind::kBytes),   // and version
    once(4, Kind::kBytes),   // domain
    once(5, Kind::kVarint),  // model version
    once(6, Kind::kBytes),   // documentation
    once(7, Kind::kBytes),   // graph
    many(8, Kind::kBytes),   // operator sets
    many(14, Kind::kBytes),  // metadata
};
constexpr Rule kGraph[] = {
    many(1, Kind::kBytes),   // nodes
    once(2, Kind::kBytes),   // name
    many(5, Kind::kBytes),   // initializers
    once(10, Kind::kBytes),  // documentation
    many(11, Kind::kBytes),  // inputs
    many(12, Kind::kBytes),  // outputs
    many(13, Kind::kBytes),  // declared values between
    many(14, Kind::kBytes),  // quantization annotations: names
    many(16, Kind::kBytes),  // metadata
};
constexpr Rule kNode[] = {
    many(1, Kind::kBytes),  // inputs
    many(2, Kind::kBytes),  // outputs
    once(3, Kind::kBytes),  // name
    once(4, Kind::kBytes),  // operator
    many(5, Kind::kBytes),  // attributes
    once(6, Kind::kBytes),  // documentation
    once(7, Kind::kBytes),  // domain
    many(9, Kind::kBytes),  // metadata
};
constexpr Rule kAttribute[] = {
    once(1, Kind::kBytes),    // name
    once(2, Kind::kFixed32),  // a float
    once(3, Kind::kVarint),   // an int
    once(4, Kind::kBytes),    // a string
    once(5, Kind::kBytes),    // a tensor
    once(6, Kind::kBytes),    // a graph
    many(7, Kind::kFixed32),  // floats
    many(8, Kind::kVarint),   // ints
    many(9, Kind::kBytes),    // strings
    many(10, Kind::kBytes),   // tensors
    many(11, Kind::kBytes),   // graphs
    once(13, Kind::kBytes),   // documentation
    once(20, Kind::kVarint),  // which of these it is
};
constexpr Rule kValueInfo[] = {once(1, Kind::kBytes), once(2, Kind::kBytes), once(3, Kind::kBytes),
                               many(4, Kind::kBytes)};  // name, type, documentation, metadata
constexpr Rule kType[] = {once(1, Kind::kBytes), once(6, Kind::kBytes)};  // tensor, denotation
constexpr Rule kTensorType[] = {once(1, Kind::kVarint), once(2, Kind::kBytes)};  // dtype, shape
constexpr Rule kShape[] = {many(1, Kind::kBytes)};
constexpr Rule kDim[] = {once(1, Kind::kVarint), once(2, Kind::kBytes), once(3, Kind::kBytes)};

// An input that says how large the operator's output is, or how much larger than its input.
struct SizeInput {
  std::string_view op;
  std::size_t index;
};
constexpr SizeInput kSizeInputs[] = {{"ConstantOfShape", 0}, {"Expand", 1}, {"Pad", 1},
                                     {"Reshape", 1},         {"Resize", 3}, {"Tile", 1}};

// Product of the positive numbers, at most one more than the cap.
std::uint64_t product(const std::vector<std::int64_t>& sizes) {
  std::uint64_t result = 1;
  for (const std::int64_t size : sizes) {
    if (size <= 0) continue;
    result *= std::min(static_cast<std::uint64_t>(size), kMaxTensorElements + 1);
    result = std::min(result, kMaxTensorElements + 1);
  }
  return result;
}

class Walker {
 public:
  Walker(const Source& source, bool compiled) : source_(source), compiled_(compiled) {}

  void model(std::string_view bytes) {
    bool has_graph = false;
    for_each_field(source_, kModel, "the model", bytes, [&](const Field& field) {
      if (field.number != 7) return;
      has_graph = true;
      graph(field.bytes, 0);
    });
    if (!has_graph) source_.refuse("is not an ONNX graph");
    check_sizes();
  }

 private:
  struct Use {  // of a value as a size
    std::string_view op;
    std::string name;
  };

  // NOLINTNEXTLINE(misc-no-recursion): the depth is bounded
  void graph(std::string_view bytes, int depth) {
    if (depth > kMaxDepth) source_.refuse("is nested too deeply");
    for_each_field(source_, kGraph, "a graph", bytes, [&](const Field& field) {
      switch (field.number) {
        case 1:
          node(field.bytes, depth);
          break;
        case 5: {
          StoredTensor stored = tensor(field.bytes);
          remember(stored.name, stored.values);
          break;
        }
        case 11:
        case 12:
        case 13:
          value_info(field.bytes);
          break;
        default:
          break;
      }
    });
  }

  // NOLINTNEXTLINE(misc-no-recursion): the depth is bounded
  void node(std::string_view bytes, int depth) {
    if (++nodes_ > kMaxNodes) {
      source_.refuse("has more than " + std::to_string(kMaxNodes) + " nodes");
    }
    std::string_view domain;
    std::string_view op;
    std::vector<std::string_view> inputs;
    std::string_view output;
    std::vector<std::string_view> attributes;
    for_each_field(source_, kNode, "a node", bytes, [&](const Field& field) {
      if (field.number == 1) inputs.push_back(field.bytes);
      if (field.number == 2 && output.empty()) output = field.bytes;
      if (field.number == 4) op = field.bytes;
      if (field.number == 5) attributes.push_back(field.bytes);
      if (field.number == 7) domain = field.bytes;
    });
    const bool holds_binary = compiled_ && domain == "com.microsoft" && op == "EPContext";
    if (!holds_binary && !is_allowed_op(domain, op)) {
      const std::string prefix = domain.empty() ? "" : shown(domain) + ".";
      source_.refuse("uses the operator " + prefix + shown(op) + ", which bundles do not allow");
    }
    const bool constant = op == "Constant";
    for (const std::string_view attribute_bytes : attributes) {
      if (holds_binary) check_embedded(attribute_bytes);
      const std::vector<std::int64_t> values = attribute(attribute_bytes, depth);
      if (constant) remember(std::string(output), values);
    }
    for (const SizeInput& size : kSizeInputs) {
      if (op == size.op && inputs.size() > size.index) {
        uses_.push_back({size.op, std::string(inputs[size.index])});
      }
    }
  }

  // A compiled node says by embed_mode 0 that its binary lies in another file.
  void check_embedded(std::string_view attribute_bytes) const {
    std::string_view name;
    std::uint64_t value = 0;
    for_each_field(source_, kAttribute, "an attribute", attribute_bytes, [&](const Field& field) {
      if (field.number == 1) name = field.bytes;
      if (field.number == 3) value = field.value;
    });
    if (name == "embed_mode" && value != 1) {
      source_.refuse("holds a compiled node whose binary lies in another file");
    }
  }

  // The whole numbers it holds, where they are few.
  // NOLINTNEXTLINE(misc-no-recursion): the depth is bounded
  std::vector<std::int64_t> attribute(std::string_view bytes, int depth) {
    std::vector<std::int64_t> values;
    for_each_field(source_, kAttribute, "an attribute", bytes, [&](const Field& field) {
      switch (field.number) {
        case 2:
        case 7:
          check_floats(source_, field, "an attribute");
          break;
        case 5:
          values = tensor(field.bytes).values;
          break;
        case 8:
          append_int64(source_, field, values);
          break;
        case 10:
          tensor(field.bytes);
          break;
        case 6:
        case 11:
          graph(field.bytes, depth + 1);
          break;
        default:
          break;
      }
    });
    return values;
  }

  StoredTensor tensor(std::string_view bytes) {
    if (++tensors_ > kMaxTensors) {
      source_.refuse("has more than " + std::to_string(kMaxTensors) + " stored tensors");
    }
    return check_tensor(source_, bytes);
  }

  void value_info(std::string_view bytes) const {
    std::string which = "a value";
    std::string_view type;
    for_each_field(source_, kValueInfo, "a value", bytes, [&](const Field& field) {
      if (field.number == 1) which = "value " + shown(field.bytes);
      if (field.number == 2) type = field.bytes;
    });
    for_each_field(source_, kType, "a type", type, [&](const Field& field) {
      if (field.number == 1) tensor_type(field.bytes, which);
    });
  }

  void tensor_type(std::string_view bytes, const std::string& which) const {
    std::string_view shape;
    for_each_field(source_, kTensorType, "a tensor type", bytes, [&](const Field& field) {
      if (field.number == 2) shape = field.bytes;
      if (field.number == 1 && !is_allowed_dtype(field.value)) {
        source_.refuse(which + " has an element type that bundles do not use");
      }
    });
    std::vector<std::int64_t> sizes;
    for_each_field(source_, kShape, "a shape", shape, [&](const Field& axis) {
      for_each_field(source_, kDim, "an axis", axis.bytes, [&](const Field& field) {
        if (field.number == 1) append_int64(source_, field, sizes);
      });
    });
    if (std::any_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size < 0; })) {
      source_.refuse(which + " has an axis of negative size");
    }
    if (product(sizes) > kMaxTensorElements) refuse_giant(which);
  }

  void remember(const std::string& name, const std::vector<std::int64_t>& values) {
    std::uint64_t& known = constants_[name];  // two sub-graphs may use a name: the larger counts
    known = std::max(known, product(values));
  }

  // Nodes stand before initializers in the bytes, so their inputs are known only at the end.
  void check_sizes() const {
    for (const Use& use : uses_) {
      const auto found = constants_.find(use.name);
      if (found != constants_.end() && found->second > kMaxTensorElements) {
        refuse_giant(std::string("the output of ") + std::string(use.op));
      }
    }
  }

  [[noreturn]] void refuse_giant(const std::string& which) const {
    source_.refuse(which + " has a giant shape; at most " + std::to_string(kMaxTensorElements) +
                   " numbers are allowed");
  }

  const Source& source_;
  bool compiled_;
  std::size_t nodes_ = 0;
  std::size_t tensors_ = 0;
  std::map<std::string, std::uint64_t> constants_;  // name -> product of its numbers
  std::vector<Use> uses_;
};

// "embed.<SOC>.onnx": embed.onnx, compiled for one system on chip.
bool is_compiled_name(std::string_view file) {
  constexpr std::string_view kPrefix = "embed.";
  constexpr std::string_view kSuffix = ".onnx";
  return file.size() > kPrefix.size() + kSuffix.size() &&
         file.substr(0, kPrefix.size()) == kPrefix &&
         file.substr(file.size() - kSuffix.size()) == kSuffix;
}

}  // namespace

void check_graph(const std::string& file, std::string_view graph) {
  const Source source(file);
  // ONNX Runtime takes bytes with this mark for its flatbuffer format, whatever else they are.
  if (graph.size() >= 8 && graph.substr(4, 4) == "ORTM") source.refuse("is not an ONNX graph");
  Walker(source, is_compiled_name(file)).model(graph);
}

}  // namespace edge
