// Where libonnxruntime is, when the app does not say.
#pragma once

#include <string>

namespace edge::capi {

/// What the environment variable EDGE_SDK_ONNXRUNTIME names, or else the first of the runtime's
/// usual names that the dynamic linker finds.
/// @throws Error  kRuntimeLibrary if there is none
std::string find_runtime();

}  // namespace edge::capi
