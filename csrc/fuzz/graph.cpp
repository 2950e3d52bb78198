// The walk over an ONNX graph before the runtime sees it: refused with bad_bundle, or passed.
#include "fuzz.h"
#include "self_contained.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  edge::fuzz::only(edge::ErrorCode::kBadBundle,
                   [&] { edge::check_self_contained("graph.onnx", edge::fuzz::view(data, size)); });
  return 0;
}
