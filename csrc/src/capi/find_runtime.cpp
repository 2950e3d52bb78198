// Asks the environment, then the dynamic linker.
#include "capi/find_runtime.h"

#include <dlfcn.h>

#include <cstdlib>

#include "edge/error.h"

namespace edge::capi {

std::string find_runtime() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): an app that changes its environment must not race itself
  const char* const chosen = std::getenv("EDGE_SDK_ONNXRUNTIME");
  if (chosen != nullptr && *chosen != '\0') return chosen;
  for (const char* name : {"libonnxruntime.so.1", "libonnxruntime.so"}) {
    void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) continue;
    dlclose(library);  // opened again, and checked, by its name
    return name;
  }
  throw Error(ErrorCode::kRuntimeLibrary,
              "no libonnxruntime found; install onnxruntime 1.20 or newer, set "
              "EDGE_SDK_ONNXRUNTIME, or pass the path in edge_engine_options");
}

}  // namespace edge::capi
