// Execution providers that are missing, or refuse: typed errors, never the CPU in silence.
#include "edge/accelerator.h"

#include "learner.h"
#include "test.h"

namespace edge::test {
namespace {

Learner with(Accelerator accelerator) {
  Learner learner;
  learner.embed = Learner::embed_graph().bytes();
  learner.options.accelerator = std::move(accelerator);
  return learner;
}

TEST(without_an_accelerator_nothing_is_recorded) {
  Learner learner;
  learner.embed = Learner::embed_graph().bytes();
  const Engine engine = learner.engine();
  CHECK(engine.embed_nodes().empty());
  CHECK(engine.embed_batch() == 0);
}

TEST(a_provider_that_the_library_lacks_is_named_with_those_it_has) {
  const Learner learner = with({"xnnpack", "XnnpackExecutionProvider", "", {}, 0, true, "e.onnx"});
  CHECK_THROWS(kProvider, "xnnpack: this ONNX Runtime", learner.engine());
  CHECK_THROWS(kProvider, "without XnnpackExecutionProvider", learner.engine());
  CHECK_THROWS(kProvider, "CPUExecutionProvider", learner.engine());
}

TEST(a_plug_in_that_is_missing_is_refused) {
  const Learner learner =
      with({"qnn", "QNNExecutionProvider", "/nowhere/libqnn.so", {}, 8, false, "embed.onnx"});
  CHECK_THROWS(kProvider, "qnn: ONNX Runtime", learner.engine());
  CHECK_THROWS(kProvider, "register the plug-in", learner.engine());
}

TEST(compiled_nodes_are_for_compiled_files_and_must_hold_their_binary) {
  for (const std::int64_t mode : {0, 1}) {
    GraphWriter graph;
    graph.input("x", {8, kDim}).output("features", {8, kDim});
    graph.node("EPContext", {"x"}, "features", {{"embed_mode", mode}}, "com.microsoft");
    Learner learner;
    learner.embed = graph.bytes();
    CHECK_THROWS(kBadBundle, "embed.onnx: uses the operator com.microsoft.EPContext",
                 learner.engine());
    learner.options.accelerator =
        Accelerator{"xnnpack", "XnnpackExecutionProvider", "", {}, 0, true, "embed.SM8650.onnx"};
    if (mode == 0) {
      CHECK_THROWS(kBadBundle, "binary lies in another file", learner.engine());
    } else {
      CHECK_THROWS(kProvider, "without XnnpackExecutionProvider", learner.engine());
    }
  }
}

}  // namespace
}  // namespace edge::test
