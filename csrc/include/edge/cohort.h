// Many support sets at once, on several threads: what a simulator of many devices runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "edge/engine.h"
#include "edge/error.h"

namespace edge {

/// What one device teaches; borrowed for the call.
struct SupportSet {
  FloatView features;                         ///< `[n, *feature_shape]`
  std::variant<LabelView, FloatView> taught;  ///< labels `[n]`, or targets `[n, outputs]`
  const State* start = nullptr;               ///< null: the engine's initial state
};

/// What came of one support set: a state, or why there is none.
struct SetOutcome {
  StatePtr state;  ///< null where `Engine::adapt` threw
  ErrorCode code = ErrorCode::kInvalidOption;
  std::string message;
};

/// `engine.adapt` of each set: the same bits as one call after the other, whatever the number of
/// threads. A set that cannot be adapted on has its error as its outcome; the others go on.
/// @param steps    as for `Engine::adapt`
/// @param threads  1 to Engine::kMaxThreads; never more are started than there are sets
/// @throws Error  kInvalidOption for `threads`; std::bad_alloc, std::system_error
std::vector<SetOutcome> adapt_many(const Engine& engine, const std::vector<SupportSet>& sets,
                                   std::optional<std::int64_t> steps, int threads);

}  // namespace edge
