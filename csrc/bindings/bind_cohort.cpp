// Many support sets for Python: unpacked with the GIL, adapted on without it.
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "edge/cohort.h"
#include "edge/engine.h"
#include "edge/error.h"

namespace edge::bindings {
namespace {

py::list as_list(const py::object& object, const char* name) {
  if (!py::isinstance<py::list>(object)) {
    throw Error(ErrorCode::kDtypeMismatch,
                std::string(name) + " must be a list, got " + type_name(object));
  }
  return py::reinterpret_borrow<py::list>(object);
}

// The arrays and states that the sets borrow from, kept alive for the call.
struct HeldSets {
  std::vector<HeldArray<float>> features;
  std::vector<HeldArray<std::int64_t>> labels;
  std::vector<HeldArray<float>> targets;
  std::vector<SupportSet> sets;
};

const State* start_of(const py::handle& object) {
  if (object.is_none()) return nullptr;
  if (!py::isinstance<State>(object)) {
    throw Error(ErrorCode::kDtypeMismatch,
                "each start must be a State or None, got " + type_name(object));
  }
  return object.cast<const State*>();
}

HeldSets hold_sets(const Engine& engine, const py::list& features, const py::list& taught,
                   const py::list& starts) {
  if (taught.size() != features.size() || starts.size() != features.size()) {
    throw Error(ErrorCode::kShapeMismatch,
                "features, labels and starts must be of one length, got " +
                    std::to_string(features.size()) + ", " + std::to_string(taught.size()) +
                    " and " + std::to_string(starts.size()));
  }
  const bool regression = engine.spec().outputs > 0;
  HeldSets held;
  held.features.reserve(features.size());
  held.labels.reserve(features.size());
  held.targets.reserve(features.size());
  held.sets.reserve(features.size());
  for (std::size_t i = 0; i < features.size(); ++i) {
    held.features.push_back(hold_array<float>(features[i], "features"));
    SupportSet set;
    set.features = held.features.back().view;
    if (regression) {
      held.targets.push_back(hold_array<float>(taught[i], "targets"));
      set.taught = held.targets.back().view;
    } else {
      held.labels.push_back(hold_array<std::int64_t>(taught[i], "labels"));
      set.taught = held.labels.back().view;
    }
    set.start = start_of(starts[i]);
    held.sets.push_back(std::move(set));
  }
  return held;
}

py::object to_object(const SetOutcome& outcome) {
  if (outcome.state) return py::cast(to_python(outcome.state));
  return py::module_::import("edge_sdk.errors")
      .attr("from_code")(code_name(outcome.code), outcome.message);
}

py::list adapt_many_of(const Engine& engine, const py::object& features, const py::object& labels,
                       const py::object& starts, const std::optional<std::int64_t>& steps,
                       int threads) {
  const HeldSets held = hold_sets(engine, as_list(features, "features"), as_list(labels, "labels"),
                                  as_list(starts, "starts"));
  std::vector<SetOutcome> outcomes;
  {
    const py::gil_scoped_release nogil;
    outcomes = adapt_many(engine, held.sets, steps, threads);
  }
  py::list result(outcomes.size());
  for (std::size_t i = 0; i < outcomes.size(); ++i) result[i] = to_object(outcomes[i]);
  return result;
}

}  // namespace

void bind_cohort(py::module_& module) {
  module.def("adapt_many", &adapt_many_of, py::arg("engine"), py::arg("features"),
             py::arg("labels"), py::arg("starts"), py::arg("steps") = py::none(),
             py::arg("threads") = 1,
             "`engine.adapt` of many support sets on several threads; a state or an error each.");
}

}  // namespace edge::bindings
