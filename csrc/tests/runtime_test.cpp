// Opening libraries that are missing, are something else, or are too old.
#include "ort/runtime.h"

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

}  // namespace
}  // namespace edge::test
