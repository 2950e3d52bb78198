// Compares the declared slots with the official header, where that is installed.
#include "ort/slots.h"
#include "test.h"

#ifdef EDGE_HAVE_ORT_HEADER

#include <onnxruntime_c_api.h>

#include <type_traits>

namespace edge::ort {
namespace {

template <typename Function>
struct Signature;

template <typename Result, typename... Args>
struct Signature<Result (*)(Args...)> {
  static constexpr std::size_t kArguments = sizeof...(Args);
  static constexpr bool kReturnsPointer = std::is_pointer_v<Result>;
};

#if defined(__cpp_noexcept_function_type)
template <typename Result, typename... Args>
struct Signature<Result (*)(Args...) noexcept> : Signature<Result (*)(Args...)> {};
#endif

TEST(slots_are_where_the_official_header_has_them) {
#define CHECK_SLOT(index, name, result, arguments)                      \
  CHECK(offsetof(OrtApi, name) / sizeof(void*) == slots::name::kIndex); \
  CHECK(Signature<decltype(OrtApi::name)>::kArguments ==                \
        Signature<slots::name::Function>::kArguments);                  \
  CHECK(Signature<decltype(OrtApi::name)>::kReturnsPointer ==           \
        Signature<slots::name::Function>::kReturnsPointer);
  EDGE_ORT_SLOTS(CHECK_SLOT)
}

// Installed headers may be older than these entries.
#if ORT_API_VERSION >= 24
TEST(newer_slots_are_where_the_official_header_has_them) {
  CHECK(ORT_API_VERSION >= kNewerApiVersion);
  CHECK(OrtHardwareDeviceType_NPU == kNpuDevice);
  EDGE_ORT_NEWER_SLOTS(CHECK_SLOT)
}
#endif

TEST(constants_are_those_of_the_official_header) {
  CHECK(ORT_API_VERSION >= kApiVersion);
  CHECK(ORT_LOGGING_LEVEL_FATAL == kLogFatal);
  CHECK(ONNX_TYPE_TENSOR == kOnnxTypeTensor);
  CHECK(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT == kElementFloat);
  CHECK(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 == kElementInt64);
  CHECK(OrtDeviceAllocator == kDeviceAllocator);
  CHECK(OrtMemTypeDefault == kDefaultMemory);
  CHECK(offsetof(OrtApiBase, GetApi) == offsetof(ApiBase, get_api));
  CHECK(offsetof(OrtApiBase, GetVersionString) == offsetof(ApiBase, get_version));
}

}  // namespace
}  // namespace edge::ort

int main() { return edge::test::run_all(); }

#else

int main() {
  std::fprintf(stderr, "skipped: onnxruntime_c_api.h is not installed\n");
  return edge::test::kSkipped;
}

#endif
