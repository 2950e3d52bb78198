// What an engine refuses to load.
#include <cmath>

#include "edge/engine.h"
#include "learner.h"
#include "test.h"

namespace edge::test {
namespace {

template <typename Change>
void load_after(const Change& change) {
  Learner learner;
  change(learner);
  learner.engine();
}

TEST(ports_must_be_those_of_the_spec) {
  const auto adapt = [](const GraphWriter& graph) {
    return [bytes = graph.bytes()](Learner& learner) { learner.adapt = bytes; };
  };
  const auto outputs = [] {
    GraphWriter graph = Learner::adapt_nodes();
    return graph.output("next.w", {kDim, kWays}).output("next.counts", {kWays});
  };
  CHECK_THROWS(kBadBundle, "adapt.onnx: output loss is missing", load_after(adapt(outputs())));
  CHECK_THROWS(kBadBundle, "adapt.onnx: unexpected output gradient",
               load_after(adapt(outputs().output("loss", {}).output("gradient", {kDim, kWays}))));
  CHECK_THROWS(
      kBadBundle, "adapt.onnx: output next.counts is missing",
      load_after(adapt(Learner::adapt_nodes().output("next.w", {kDim, kWays}).output("loss", {}))));

  const auto predict = [](const Shape& features, const Shape& logits) {
    return [=](Learner& learner) {
      GraphWriter graph;
      graph.input("features", features).input("state.w", {kDim, kWays});
      graph.node("MatMul", {"features", "state.w"}, "logits").output("logits", logits);
      learner.predict = graph.bytes();
    };
  };
  CHECK_THROWS(kBadBundle, "predict.onnx: input features must have shape [n, 4], it has [2, 4]",
               load_after(predict({2, kDim}, {2, kWays})));
  CHECK_THROWS(kBadBundle, "predict.onnx: input features must have shape [n, 4], it has [n, n, 4]",
               load_after(predict({-1, -1, kDim}, {-1, -1, kWays})));
  CHECK_THROWS(kBadBundle, "predict.onnx: output logits must have shape [n, 2], it has [n, 3]",
               load_after([](Learner& learner) { learner.spec.ways = 2; }));
  CHECK_THROWS(kBadBundle, "adapt.onnx: input state.w must have shape [4, 2], it has [4, 3]",
               load_after([](Learner& learner) { learner.spec.state[0].shape = {kDim, 2}; }));
}

TEST(dtypes_must_be_those_of_the_spec) {
  CHECK_THROWS(kBadBundle, "embed.onnx: input x must be float32, it is another dtype",
               load_after([](Learner& learner) {
                 GraphWriter graph;
                 graph.input("x", {-1, kDim}, GraphWriter::kDouble);
                 graph.node("Cast", {"x"}, "features", {{"to", 1}}).output("features", {-1, kDim});
                 learner.embed = graph.bytes();
               }));
  CHECK_THROWS(kBadBundle, "embed.onnx: input x must be float32, it is int64",
               load_after([](Learner& learner) {
                 GraphWriter graph;
                 graph.input("x", {-1, kDim}, GraphWriter::kInt64);
                 graph.node("Cast", {"x"}, "features", {{"to", 1}}).output("features", {-1, kDim});
                 learner.embed = graph.bytes();
               }));
}

TEST(the_initial_state_must_be_whole_and_finite) {
  CHECK_THROWS(kBadBundle, "init.onnx: output state.w is missing", load_after([](Learner& learner) {
                 GraphWriter graph;
                 graph.constant("c", {kWays}, std::vector<float>(kWays));
                 graph.node("Identity", {"c"}, "state.counts").output("state.counts", {kWays});
                 learner.init = graph.bytes();
               }));
  CHECK_THROWS(kBadBundle, "init.onnx: state tensor w holds NaN", load_after([](Learner& learner) {
                 GraphWriter graph;  // stored NaN is refused before: this one is computed
                 graph.constant("zeros", {kDim, kWays}, std::vector<float>(kDim * kWays));
                 graph.node("Div", {"zeros", "zeros"}, "state.w").output("state.w", {kDim, kWays});
                 graph.constant("counts", {kWays}, std::vector<float>(kWays));
                 graph.node("Identity", {"counts"}, "state.counts");
                 learner.init = graph.output("state.counts", {kWays}).bytes();
               }));
  CHECK_THROWS(kBadBundle, "init.onnx: unexpected input x", load_after([](Learner& learner) {
                 learner.init = Learner::init_graph(0).input("x", {1}).bytes();
               }));
}

TEST(damaged_graphs_are_refused) {
  CHECK_THROWS(kBadBundle, "init.onnx: is not an ONNX graph",
               load_after([](Learner& learner) { learner.init = "nonsense"; }));
  CHECK_THROWS(kBadBundle, "init.onnx: is not an ONNX graph",
               load_after([](Learner& learner) { learner.init = ""; }));
  const std::string whole = Learner().adapt;
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    try {
      load_after([&](Learner& learner) { learner.adapt = whole.substr(0, size); });
      CHECK(false);
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find("adapt.onnx") == 0);
    }
  }
}

TEST(graphs_must_hold_all_their_data) {
  CHECK_THROWS(kBadBundle, "init.onnx: holds a tensor whose data lies in another file",
               load_after([](Learner& learner) {
                 GraphWriter graph = Learner::init_graph(0);
                 learner.init = graph.external("far", {2}, "elsewhere.bin").bytes();
               }));
  // The runtime's parser drops the upper bits of a tag, and so reads the same.
  CHECK_THROWS(kBadBundle, "init.onnx: is not an ONNX graph", load_after([](Learner& learner) {
                 GraphWriter graph = Learner::init_graph(0);
                 learner.init =
                     graph.external("far", {2}, "elsewhere.bin", std::uint64_t{1} << 32U).bytes();
               }));
}

TEST(graphs_nested_without_end_are_refused) {
  std::string nested;  // a graph attribute of a node of a graph attribute ...
  const auto wrap = [&](char field) {
    std::string length;
    for (std::size_t value = nested.size();; value >>= 7) {
      length += static_cast<char>(value >= 0x80 ? (value & 0x7F) | 0x80 : value);
      if (value < 0x80) break;
    }
    nested = static_cast<char>((field << 3) | 2) + length + nested;
  };
  for (int depth = 0; depth < 200; ++depth) {
    wrap(6);
    wrap(5);
    nested += "\x22\x02If";  // the node's operator
    wrap(1);
  }
  wrap(7);
  CHECK_THROWS(kBadBundle, "nested too deeply",
               load_after([&](Learner& learner) { learner.init = nested; }));
}

TEST(the_spec_must_make_sense) {
  using L = Learner;
  CHECK_THROWS(kBadBundle, "ways", load_after([](L& x) { x.spec.ways = 0; }));
  CHECK_THROWS(kBadBundle, "steps", load_after([](L& x) { x.spec.steps = 0; }));
  CHECK_THROWS(kBadBundle, "exactly one step",
               load_after([](L& x) { x.spec.loop = InnerLoop::kClosedForm; }));
  CHECK_THROWS(kBadBundle, "input shape", load_after([](L& x) { x.spec.input_shape = {0}; }));
  CHECK_THROWS(kBadBundle, "shape of the input",
               load_after([](L& x) { x.spec.input_shape = {2, 2}; }));
  CHECK_THROWS(kBadBundle, "manifest.json: a state",
               load_after([](L& x) { x.spec.state.clear(); }));
}

TEST(host_options_are_checked) {
  using L = Learner;
  CHECK_THROWS(kInvalidOption, "threads must be in 1..256, got 0",
               load_after([](L& x) { x.options.threads = 0; }));
  CHECK_THROWS(kInvalidOption, "threads", load_after([](L& x) { x.options.threads = 257; }));
  CHECK_THROWS(kInvalidOption, "at least one", load_after([](L& x) { x.options.providers = {}; }));
  CHECK_THROWS(kInvalidOption, "provider qnn is not available; available: cpu",
               load_after([](L& x) { x.options.providers = {"qnn", "cpu"}; }));
}

}  // namespace
}  // namespace edge::test
