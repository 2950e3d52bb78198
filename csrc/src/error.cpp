// Names of the error codes.
#include "edge/error.h"

namespace edge {

const char* code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidOption:
      return "invalid_option";
    case ErrorCode::kShapeMismatch:
      return "shape_mismatch";
    case ErrorCode::kDtypeMismatch:
      return "dtype_mismatch";
    case ErrorCode::kNonFinite:
      return "non_finite";
    case ErrorCode::kEmptySupport:
      return "empty_support";
    case ErrorCode::kLabelRange:
      return "label_range";
    case ErrorCode::kDiverged:
      return "diverged";
    case ErrorCode::kBadBundle:
      return "bad_bundle";
    case ErrorCode::kBadState:
      return "bad_state";
    case ErrorCode::kRuntimeLibrary:
      return "runtime_library";
    case ErrorCode::kRuntimeFailed:
      return "runtime_failed";
    case ErrorCode::kProvider:
      return "provider";
  }
  return "edge";
}

}  // namespace edge
