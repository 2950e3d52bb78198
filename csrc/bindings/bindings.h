// The parts of the module, one for each header that is bound.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "edge/state.h"

namespace edge::bindings {

void bind_state(pybind11::module_& module);
void bind_engine(pybind11::module_& module);
void bind_cohort(pybind11::module_& module);
void bind_graph_check(pybind11::module_& module);
void bind_update(pybind11::module_& module);
void bind_secure(pybind11::module_& module);

/// pybind11 holds objects as non-const; State has const methods only.
inline std::shared_ptr<State> to_python(const StatePtr& state) {
  return std::const_pointer_cast<State>(state);
}

}  // namespace edge::bindings
