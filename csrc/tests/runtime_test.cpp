// Opening libraries that are missing, are something else, or are too old.
#include "ort/runtime.h"

#include <cstdlib>
#include <string>

#include "learner.h"
#include "test.h"

namespace edge::test {
namespace {

TEST(a_missing_library_is_refused_with_a_remedy) {
  CHECK_THROWS(kRuntimeLibrary, "install onnxruntime", ort::Runtime::open("/nowhere/lib.so"));
  CHECK_THROWS(kRuntimeLibrary, "/nowhere/lib.so", ort::Runtime::open("/nowhere/lib.so"));
  CHECK_THROWS(kRuntimeLibrary, "no path", ort::Runtime::open(""));
}

TEST(another_library_is_refused) {
  CHECK_THROWS(kRuntimeLibrary, "is not ONNX Runtime", ort::Runtime::open(EDGE_OTHER_LIBRARY));
}

TEST(an_old_runtime_is_refused) {
  CHECK_THROWS(kRuntimeLibrary, "ONNX Runtime 1.9.0 is too old",
               ort::Runtime::open(EDGE_OLD_LIBRARY));
  CHECK_THROWS(kRuntimeLibrary, "ONNX Runtime 9.9.9 is too old",
               ort::Runtime::open(EDGE_REFUSING_LIBRARY));
}

TEST(the_engine_reports_it) {
  Learner learner;
  learner.options.library = "/nowhere/lib.so";
  CHECK_THROWS(kRuntimeLibrary, "/nowhere/lib.so", learner.engine());
}

// NOLINTBEGIN(concurrency-mt-unsafe): one thread
TEST(opening_a_runtime_refuses_its_telemetry_unless_the_app_decided) {
  const char* const library = std::getenv("EDGE_TEST_ONNXRUNTIME");
  unsetenv("ORT_DISABLE_TELEMETRY");
  ort::Runtime::open(library);
  const char* const set = std::getenv("ORT_DISABLE_TELEMETRY");
  CHECK(set != nullptr && std::string(set) == "1");
  setenv("ORT_DISABLE_TELEMETRY", "0", 1);
  const std::string again = std::string("/proc/self/root") + library;  // another path, opened anew
  ort::Runtime::open(again);
  CHECK(std::string(std::getenv("ORT_DISABLE_TELEMETRY")) == "0");
}
// NOLINTEND(concurrency-mt-unsafe)

}  // namespace
}  // namespace edge::test
