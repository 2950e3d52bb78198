// One loaded graph, and the tensors that go in and out of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "edge/accelerator.h"
#include "edge/tensor.h"
#include "ort/runtime.h"

namespace edge::ort {

/// A tensor that borrows its memory.
class Value {
 public:
  Value() = default;
  /// The runtime only reads `data` of values that are passed as inputs.
  Value(const Runtime& runtime, const float* data, const Shape& shape, std::size_t count);
  Value(const Runtime& runtime, const std::int64_t* data, const Shape& shape, std::size_t count);
  Value(const Value&) = delete;
  Value& operator=(const Value&) = delete;
  Value(Value&& other) noexcept;
  Value& operator=(Value&& other) noexcept;
  ~Value();

  ValueHandle* get() const noexcept { return handle_; }

 private:
  Value(const Runtime& runtime, const void* data, std::size_t size_bytes, const Shape& shape,
        int element_type);

  const Runtime* runtime_ = nullptr;
  ValueHandle* handle_ = nullptr;
};

/// An input or output of a graph.
struct Port {
  std::string name;
  int element_type = 0;
  Shape shape;  ///< -1 where symbolic
};

/// A graph ready to run. `run` may be called from several threads at once.
class Session {
 public:
  /// @param file   the graph's name in messages
  /// @param graph  bytes of an ONNX model; not needed afterwards
  /// @param accelerator  what to run it on in place of the CPU; null: the CPU
  /// @throws Error  kRuntimeFailed if the runtime refuses the graph, kProvider if the accelerator
  ///                does or leaves nodes to the CPU that it may not
  Session(const Runtime& runtime, std::string file, std::string_view graph, int threads,
          const Accelerator* accelerator = nullptr);

  const Runtime& runtime() const noexcept { return *runtime_; }
  const std::string& file() const noexcept { return file_; }
  const std::vector<Port>& inputs() const noexcept { return inputs_; }
  const std::vector<Port>& outputs() const noexcept { return outputs_; }
  /// Which provider runs how many nodes of what kind; empty without an accelerator.
  const std::vector<NodeGroup>& nodes() const noexcept { return nodes_; }

  /// Runs on values in the order of `inputs()`, into preallocated values in the order of
  /// `outputs()`.
  /// @throws Error  kRuntimeFailed, without anything that depends on the values
  void run(const std::vector<ValueHandle*>& inputs, std::vector<ValueHandle*>& outputs) const;

 private:
  struct Release {
    const Runtime* runtime;
    void operator()(SessionHandle* handle) const noexcept {
      runtime->call<slots::ReleaseSession>(handle);
    }
  };

  const Runtime* runtime_;
  std::string file_;
  std::unique_ptr<SessionHandle, Release> handle_;
  std::vector<Port> inputs_;
  std::vector<Port> outputs_;
  std::vector<const char*> input_names_;
  std::vector<const char*> output_names_;
  std::vector<NodeGroup> nodes_;
};

}  // namespace edge::ort
