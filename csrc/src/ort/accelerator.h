// Puts an execution provider into a session, and says what it took.
#pragma once

#include <string>
#include <vector>

#include "edge/accelerator.h"
#include "ort/runtime.h"

namespace edge::ort {

/// Adds the provider to the options of a session that is yet to be made: registers its plug-in
/// (once in a process), fixes n, and forbids the CPU where it may not share.
/// @throws Error  kProvider "<name>: ...", kRuntimeLibrary if the runtime is too old
void use_accelerator(const Runtime& runtime, SessionOptions* options,
                     const Accelerator& accelerator);

/// Which provider runs what in a session made with such options.
/// @throws Error  kProvider if the CPU runs what it may not, or all of it
std::vector<NodeGroup> check_assignment(const Runtime& runtime, const SessionHandle* session,
                                        const std::string& file, const Accelerator& accelerator);

}  // namespace edge::ort
