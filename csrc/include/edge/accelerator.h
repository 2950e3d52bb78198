// What can run the embed graph in place of the CPU: an execution provider, and what it took.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace edge {

/// An execution provider other than the CPU's. Needs ONNX Runtime 1.24 or newer.
struct Accelerator {
  std::string name;      ///< what the caller asked for, for messages: "qnn"
  std::string provider;  ///< as ONNX Runtime calls it: "QNNExecutionProvider"
  std::string plugin;    ///< path of its plug-in library; empty: it is built into libonnxruntime
  std::vector<std::pair<std::string, std::string>> options;  ///< the provider's own, by name
  std::int64_t batch = 0;           ///< fix n to this, 1 to 4096; 0: leave the graph as it is
  bool share_with_cpu = false;      ///< whether the CPU may run the nodes that it does not take
  std::string file = "embed.onnx";  ///< the graph's name, for messages
  std::string compile_to = {};  ///< path of a file to write the graph to as compiled; empty: none
};

/// Nodes of one kind that one provider runs.
struct NodeGroup {
  std::string provider;   ///< "QNNExecutionProvider"
  std::string operation;  ///< "Conv"
  std::int64_t count = 0;
};

}  // namespace edge
