// A bundle's graph: a session whose ports were checked against what the bundle promises.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "edge/state.h"
#include "edge/tensor.h"
#include "ort/session.h"

namespace edge {

/// An input or output that a graph has, or may have.
struct PortSpec {
  std::string name;
  int element_type = ort::kElementFloat;
  Shape shape;  ///< kAnyCount stands for n, which must be symbolic
  bool required = true;
};

inline constexpr std::int64_t kAnyCount = -1;
inline constexpr std::int64_t kMaxBatch = 4096;

/// `[n, *example_shape]`.
Shape batch_of(const Shape& example_shape, std::int64_t n = kAnyCount);

/// One port a state tensor, named `<prefix><tensor>`.
std::vector<PortSpec> state_ports(const StateLayout& layout, const char* prefix, bool required);

std::vector<PortSpec> operator+(std::vector<PortSpec> ports, std::vector<PortSpec> more);

/// Loaded and checked; the position of a port is an index into the specs it was loaded with.
class Graph {
 public:
  /// @throws Error  kBadBundle "<file>: ..." if names, dtypes or shapes are not those of the specs,
  ///                or the bytes do not pass check_graph();
  ///                kRuntimeFailed if the runtime refuses the graph, kProvider if the accelerator
  ///                does; its graphs may fix n, to 1..kMaxBatch
  Graph(const ort::Runtime& runtime, const std::string& file, std::string_view bytes, int threads,
        const std::vector<PortSpec>& inputs, const std::vector<PortSpec>& outputs,
        const Accelerator* accelerator = nullptr);

  /// Runs on one value a spec, in the order of the specs. Values of inputs that the graph leaves
  /// out may be null.
  void run(const std::vector<ort::ValueHandle*>& inputs,
           const std::vector<ort::ValueHandle*>& outputs) const;

  /// Whether the graph reads input `spec_index`.
  bool reads(std::size_t spec_index) const;

  /// The n that an accelerator's graph is fixed to; 0 where any n will do.
  std::int64_t batch() const noexcept { return batch_; }

  const std::vector<NodeGroup>& nodes() const noexcept { return session_.nodes(); }

 private:
  ort::Session session_;
  std::int64_t batch_;
  std::vector<std::size_t> input_specs_;   // spec index of each of the session's inputs
  std::vector<std::size_t> output_specs_;  // and of its outputs
};

}  // namespace edge
