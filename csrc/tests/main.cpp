// Runs the tests of one executable; those that need ONNX Runtime are skipped, loudly, without it.
#include <cstdio>
#include <cstdlib>

#include "test.h"

int main() {
#ifdef EDGE_TEST_NEEDS_RUNTIME
  if (std::getenv("EDGE_TEST_ONNXRUNTIME") == nullptr) {
    std::fprintf(stderr, "skipped: set EDGE_TEST_ONNXRUNTIME to the path of libonnxruntime\n");
    return edge::test::kSkipped;
  }
#endif
  return edge::test::run_all();
}
