// A library that answers like an ONNX Runtime of version EDGE_FAKE_VERSION that lacks our API
// version.
#include <cstdint>

namespace {

using Table = void (*const*)();
struct ApiBase {
  Table (*get_api)(std::uint32_t);
  const char* (*get_version)();
};

const ApiBase kBase = {
    [](std::uint32_t) -> Table { return nullptr; },
    []() -> const char* { return EDGE_FAKE_VERSION; },
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const void* OrtGetApiBase() { return &kBase; }
