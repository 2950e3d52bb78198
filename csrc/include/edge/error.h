// The one exception type of the core, and its codes.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace edge {

/// What went wrong. Each code has a class of the same name in edge_sdk/errors.py.
enum class ErrorCode : std::uint8_t {
  kInvalidOption,
  kShapeMismatch,
  kDtypeMismatch,
  kNonFinite,
  kEmptySupport,
  kLabelRange,
  kDiverged,
  kBadBundle,
  kBadState,
  kRuntimeLibrary,
  kRuntimeFailed,
  kProvider,
};

inline constexpr std::array kAllErrorCodes = {
    ErrorCode::kInvalidOption,  ErrorCode::kShapeMismatch, ErrorCode::kDtypeMismatch,
    ErrorCode::kNonFinite,      ErrorCode::kEmptySupport,  ErrorCode::kLabelRange,
    ErrorCode::kDiverged,       ErrorCode::kBadBundle,     ErrorCode::kBadState,
    ErrorCode::kRuntimeLibrary, ErrorCode::kRuntimeFailed, ErrorCode::kProvider,
};

/// The code as Python spells it, for example "shape_mismatch".
const char* code_name(ErrorCode code) noexcept;

/// The only exception that leaves the core, besides std::bad_alloc.
/// Messages hold shapes, indices, option values and names; never an example, a label or a feature.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace edge
