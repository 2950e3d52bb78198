// The walk over an ONNX graph before the runtime sees it: refused with bad_bundle, or passed.
#include "fuzz.h"
#include "graph_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  edge::fuzz::only(edge::ErrorCode::kBadBundle,
                   [&] { edge::check_graph("graph.onnx", edge::fuzz::view(data, size)); });
  return 0;
}
