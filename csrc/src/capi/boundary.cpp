// Statuses, the last error of each thread, and checks of what C hands over.
#include "capi/boundary.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "edge/bundle.h"
#include "edge/error.h"

namespace edge::capi {
namespace {

constexpr std::size_t kErrorSize = 1024;

// A plain array: reporting must not allocate, and threads may end after the library's statics.
struct LastError {
  char text[kErrorSize];
};
thread_local LastError last_error = {};

void keep(std::string_view text) noexcept {
  std::size_t size = std::min(text.size(), kErrorSize - 1);
  // Not in the middle of a character.
  while (size < text.size() && size > 0 &&
         (static_cast<unsigned char>(text[size]) & 0xC0U) == 0x80U)
    --size;
  std::memcpy(last_error.text, text.data(), size);
  last_error.text[size] = '\0';
}

edge_status status_of(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidOption:
      return EDGE_INVALID_OPTION;
    case ErrorCode::kShapeMismatch:
      return EDGE_SHAPE_MISMATCH;
    case ErrorCode::kDtypeMismatch:
      return EDGE_DTYPE_MISMATCH;
    case ErrorCode::kNonFinite:
      return EDGE_NON_FINITE;
    case ErrorCode::kEmptySupport:
      return EDGE_EMPTY_SUPPORT;
    case ErrorCode::kLabelRange:
      return EDGE_LABEL_RANGE;
    case ErrorCode::kDiverged:
      return EDGE_DIVERGED;
    case ErrorCode::kBadBundle:
      return EDGE_BAD_BUNDLE;
    case ErrorCode::kBadState:
      return EDGE_BAD_STATE;
    case ErrorCode::kRuntimeLibrary:
      return EDGE_RUNTIME_LIBRARY;
    case ErrorCode::kRuntimeFailed:
      return EDGE_RUNTIME_FAILED;
    case ErrorCode::kProvider:
      return EDGE_PROVIDER;
  }
  return EDGE_INTERNAL;
}

edge_status status_of(UntrustedBundle::Why why) noexcept {
  switch (why) {
    case UntrustedBundle::Why::kSignature:
      return EDGE_BAD_SIGNATURE;
    case UntrustedBundle::Why::kExpired:
      return EDGE_EXPIRED_BUNDLE;
    case UntrustedBundle::Why::kOlder:
      return EDGE_OLDER_BUNDLE;
  }
  return EDGE_INTERNAL;
}

}  // namespace

edge_status report_current_exception() noexcept {
  try {
    throw;
  } catch (const UntrustedBundle& error) {
    keep(error.what());
    return status_of(error.why());
  } catch (const Error& error) {
    keep(error.what());
    return status_of(error.code());
  } catch (const NullArgument& argument) {
    char text[kErrorSize] = {};
    std::strncpy(text, argument.name, kErrorSize / 2);
    std::strcat(text, " must not be NULL");
    keep(text);
    return EDGE_NULL_ARGUMENT;
  } catch (const std::bad_alloc&) {
    keep("out of memory");
    return EDGE_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    keep(error.what());
    return EDGE_INTERNAL;
  } catch (...) {
    keep("unknown exception");
    return EDGE_INTERNAL;
  }
}

FloatView rows(const float* data, std::size_t count, const Shape& example_shape,
               std::size_t example_size, const char* name) {
  if (count % example_size != 0) {
    throw Error(ErrorCode::kShapeMismatch, std::string(name) + " must hold n * " +
                                               std::to_string(example_size) + " numbers, got " +
                                               std::to_string(count));
  }
  if (count > 0) require(data, name);
  Shape shape = {static_cast<std::int64_t>(count / example_size)};
  shape.insert(shape.end(), example_shape.begin(), example_shape.end());
  return {data, std::move(shape)};
}

void check_output(const float* data, std::size_t count, std::size_t wanted, const char* name) {
  if (count != wanted) {
    throw Error(ErrorCode::kShapeMismatch, std::string(name) + " must have room for exactly " +
                                               std::to_string(wanted) + " numbers, got " +
                                               std::to_string(count));
  }
  require(data, name);
}

std::uint8_t* copy_bytes(std::string_view content) {
  void* memory = std::malloc(content.size());  // NOLINT(cppcoreguidelines-no-malloc): C frees it
  if (memory == nullptr) throw std::bad_alloc();
  std::memcpy(memory, content.data(), content.size());
  return static_cast<std::uint8_t*>(memory);
}

}  // namespace edge::capi

const char* edge_last_error(void) { return edge::capi::last_error.text; }

const char* edge_version(void) { return EDGE_SDK_VERSION; }

const char* edge_status_name(edge_status status) {
  switch (status) {
    case EDGE_OK:
      return "ok";
    case EDGE_INVALID_OPTION:
      return "invalid_option";
    case EDGE_SHAPE_MISMATCH:
      return "shape_mismatch";
    case EDGE_DTYPE_MISMATCH:
      return "dtype_mismatch";
    case EDGE_NON_FINITE:
      return "non_finite";
    case EDGE_EMPTY_SUPPORT:
      return "empty_support";
    case EDGE_LABEL_RANGE:
      return "label_range";
    case EDGE_DIVERGED:
      return "diverged";
    case EDGE_BAD_BUNDLE:
      return "bad_bundle";
    case EDGE_BAD_STATE:
      return "bad_state";
    case EDGE_RUNTIME_LIBRARY:
      return "runtime_library";
    case EDGE_RUNTIME_FAILED:
      return "runtime_failed";
    case EDGE_PROVIDER:
      return "provider";
    case EDGE_NULL_ARGUMENT:
      return "null_argument";
    case EDGE_OUT_OF_MEMORY:
      return "out_of_memory";
    case EDGE_INTERNAL:
      return "internal";
    case EDGE_BAD_SIGNATURE:
      return "bad_signature";
    case EDGE_EXPIRED_BUNDLE:
      return "expired_bundle";
    case EDGE_OLDER_BUNDLE:
      return "older_bundle";
  }
  return "unknown";
}

void edge_bytes_free(uint8_t* bytes) {
  std::free(bytes);  // NOLINT(cppcoreguidelines-no-malloc)
}
