// Writes small ONNX graphs: just enough of the format (protobuf) for the tests of this folder.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "edge/tensor.h"

namespace edge::test {

/// Builds one graph, then gives its bytes. Axes of -1 are the symbolic "n".
class GraphWriter {
 public:
  GraphWriter& input(const std::string& name, const Shape& shape, int dtype = kFloat) {
    message(graph_, 11, value_info(name, shape, dtype));
    return *this;
  }

  GraphWriter& output(const std::string& name, const Shape& shape, int dtype = kFloat) {
    message(graph_, 12, value_info(name, shape, dtype));
    return *this;
  }

  GraphWriter& constant(const std::string& name, const Shape& shape,
                        const std::vector<float>& data) {
    return tensor(name, shape, kFloat, data.data(), data.size() * sizeof(float));
  }

  GraphWriter& constant(const std::string& name, const Shape& shape,
                        const std::vector<std::int64_t>& data) {
    return tensor(name, shape, kInt64, data.data(), data.size() * sizeof(std::int64_t));
  }

  /// A tensor whose values are said to lie in another file.
  /// @param above_tags  added to the tags that say so
  GraphWriter& external(const std::string& name, const Shape& shape, const std::string& file,
                        std::uint64_t above_tags = 0) {
    std::string entry;
    message(entry, 1, "location");
    message(entry, 2, file);
    std::string proto = tensor_header(name, shape, kFloat);
    message(proto, 13 + (above_tags >> 3U), entry);
    number(proto, 14 + (above_tags >> 3U), 1);
    message(graph_, 5, proto);
    return *this;
  }

  struct Attribute {
    std::string name;
    std::int64_t value;
  };

  GraphWriter& node(const std::string& op, const std::vector<std::string>& inputs,
                    const std::string& output, const std::vector<Attribute>& attributes = {},
                    const std::string& domain = "") {
    std::string proto;
    for (const std::string& name : inputs) message(proto, 1, name);
    message(proto, 2, output);
    message(proto, 3, op + "_" + output);
    message(proto, 4, op);
    for (const Attribute& attribute : attributes) {
      std::string text;
      message(text, 1, attribute.name);
      number(text, 3, static_cast<std::uint64_t>(attribute.value));
      number(text, 20, 2);  // an integer
      message(proto, 5, text);
    }
    if (!domain.empty()) message(proto, 7, domain);
    message(graph_, 1, proto);
    return *this;
  }

  std::string bytes() const {
    std::string graph = graph_;
    message(graph, 2, "g");
    std::string opset;
    number(opset, 2, 17);
    std::string model;
    number(model, 1, 8);
    message(model, 8, opset);
    message(model, 7, graph);
    return model;
  }

  static constexpr int kFloat = 1;
  static constexpr int kInt64 = 7;
  static constexpr int kDouble = 11;

 private:
  static void varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
    out += static_cast<char>(value);
  }

  static void number(std::string& out, std::uint64_t field, std::uint64_t value) {
    varint(out, field << 3);
    varint(out, value);
  }

  static void message(std::string& out, std::uint64_t field, const std::string& content) {
    varint(out, (field << 3) | 2U);
    varint(out, content.size());
    out += content;
  }

  static std::string value_info(const std::string& name, const Shape& shape, int dtype) {
    std::string dims;
    for (const std::int64_t size : shape) {
      std::string dim;
      if (size < 0) {
        message(dim, 2, "n");
      } else {
        number(dim, 1, static_cast<std::uint64_t>(size));
      }
      message(dims, 1, dim);
    }
    std::string tensor_type;
    number(tensor_type, 1, static_cast<std::uint64_t>(dtype));
    message(tensor_type, 2, dims);
    std::string type;
    message(type, 1, tensor_type);
    std::string info;
    message(info, 1, name);
    message(info, 2, type);
    return info;
  }

  static std::string tensor_header(const std::string& name, const Shape& shape, int dtype) {
    std::string proto;
    for (const std::int64_t size : shape) number(proto, 1, static_cast<std::uint64_t>(size));
    number(proto, 2, static_cast<std::uint64_t>(dtype));
    message(proto, 8, name);
    return proto;
  }

  GraphWriter& tensor(const std::string& name, const Shape& shape, int dtype, const void* data,
                      std::size_t size_bytes) {
    std::string raw(size_bytes, '\0');
    if (size_bytes > 0) std::memcpy(raw.data(), data, size_bytes);
    std::string proto = tensor_header(name, shape, dtype);
    message(proto, 9, raw);
    message(graph_, 5, proto);
    return *this;
  }

  std::string graph_;
};

}  // namespace edge::test
