// Every typed error of an engine, and that nothing changes after one.
#include <cmath>
#include <limits>

#include "edge/engine.h"
#include "learner.h"
#include "test.h"

namespace edge::test {
namespace {

const Engine& engine() {
  static const Engine shared = Learner().engine();
  return shared;
}

// Adapts on the example support set after `change` has spoilt it.
template <typename Change>
void adapt_after(const Change& change) {
  Support support = Support::example();
  change(support);
  engine().adapt(support.features_view(), support.labels_view(), support.weights_view());
}

TEST(support_sets_are_checked) {
  const std::string before = engine().initial_state()->to_bytes();
  const Support s = Support::example();
  CHECK_THROWS(kShapeMismatch, "features must have shape [n, 4], got [14, 2]",
               engine().adapt({s.features.data(), {14, 2}}, s.labels_view()));
  CHECK_THROWS(kShapeMismatch, "features must have shape [n, 4], got []",
               engine().adapt({s.features.data(), {}}, s.labels_view()));
  CHECK_THROWS(kShapeMismatch, "labels must have shape [7], got [6]",
               engine().adapt(s.features_view(), {s.labels.data(), {6}}));
  CHECK_THROWS(kShapeMismatch, "labels must have shape [7], got [7, 1]",
               engine().adapt(s.features_view(), {s.labels.data(), {7, 1}}));
  CHECK_THROWS(
      kShapeMismatch, "weights must have shape [7], got [1]",
      engine().adapt(s.features_view(), s.labels_view(), FloatView{s.weights.data(), {1}}));
  CHECK_THROWS(kEmptySupport, "at least one",
               engine().adapt({s.features.data(), {0, kDim}}, {s.labels.data(), {0}}));
  CHECK_THROWS(kLabelRange, "labels[3] is outside 0..2",
               adapt_after([](Support& x) { x.labels[3] = 3; }));
  CHECK_THROWS(kLabelRange, "labels[0]", adapt_after([](Support& x) { x.labels[0] = -1; }));
  CHECK_THROWS(kNonFinite, "features", adapt_after([](Support& x) { x.features[9] = NAN; }));
  CHECK_THROWS(kNonFinite, "weights", adapt_after([](Support& x) { x.weights[6] = INFINITY; }));
  CHECK_THROWS(kInvalidOption, "weights[2]", adapt_after([](Support& x) { x.weights[2] = -1; }));
  CHECK_THROWS(kEmptySupport, "all weights are zero",
               adapt_after([](Support& x) { x.weights.assign(7, 0.0F); }));
  CHECK(engine().initial_state()->to_bytes() == before);
}

TEST(messages_do_not_show_the_label) {
  try {
    adapt_after([](Support& x) { x.labels[3] = 987654; });
    CHECK(false);
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("987654") == std::string::npos);
  }
}

TEST(steps_are_checked) {
  const Support s = Support::example();
  const auto steps = [&](std::int64_t count) {
    engine().adapt(s.features_view(), s.labels_view(), std::nullopt, count);
  };
  CHECK_THROWS(kInvalidOption, "steps must be in 1..", steps(0));
  CHECK_THROWS(kInvalidOption, "steps must be in 1..", steps(-3));
  CHECK_THROWS(kInvalidOption, "steps must be in 1..", steps(Engine::kMaxSteps + 1));
  Learner closed;
  closed.spec.loop = InnerLoop::kClosedForm;
  closed.spec.steps = 1;
  const Engine closed_engine = closed.engine();
  CHECK(closed_engine.adapt(s.features_view(), s.labels_view()).losses.size() == 1);
  CHECK_THROWS(kInvalidOption, "steps must be 1 for a closed-form",
               closed_engine.adapt(s.features_view(), s.labels_view(), std::nullopt, 2));
}

TEST(examples_are_checked_by_embed_and_predict) {
  const Support s = Support::example();
  const StatePtr state = engine().initial_state();
  const float bad[kDim] = {1, 2, INFINITY, 4};
  CHECK_THROWS(kShapeMismatch, "x must have shape [n, 4]",
               engine().embed({s.features.data(), {2, 5}}));
  CHECK_THROWS(kShapeMismatch, "at least one", engine().embed({s.features.data(), {0, kDim}}));
  CHECK_THROWS(kNonFinite, "x holds", engine().embed({bad, {1, kDim}}));
  CHECK_THROWS(kShapeMismatch, "features must have shape",
               engine().predict({s.features.data(), {kDim}}, *state));
  CHECK_THROWS(kShapeMismatch, "at least one",
               engine().predict({s.features.data(), {0, kDim}}, *state));
  CHECK_THROWS(kNonFinite, "features holds", engine().predict({bad, {1, kDim}}, *state));
}

TEST(states_of_other_bundles_are_refused) {
  const Support s = Support::example();
  const std::vector<float> data(64, 0.0F);
  const auto refuse = [&](std::vector<TensorSpec> specs, ErrorCode code, const char* text) {
    const std::vector<const float*> pointers(specs.size(), data.data());
    const StatePtr state = State::from_tensors(std::move(specs), pointers);
    check_throws(
        code, text, [&] { engine().predict(s.features_view(), *state); }, __FILE__, __LINE__);
    check_throws(
        code, text,
        [&] { engine().adapt(s.features_view(), s.labels_view(), std::nullopt, 1, state.get()); },
        __FILE__, __LINE__);
  };
  refuse({{"w", {kDim, kWays}}}, ErrorCode::kBadState, "must have 2 tensors");
  refuse({{"w", {kWays, kDim}}, {"counts", {kWays}}}, ErrorCode::kBadState, "must be w [4, 3]");
  refuse({{"counts", {kWays}}, {"w", {kDim, kWays}}}, ErrorCode::kBadState, "it is counts [3]");
  std::vector<float> bad(kDim * kWays, NAN);
  const StatePtr state =
      State::from_tensors({{"w", {kDim, kWays}}, {"counts", {kWays}}}, {bad.data(), data.data()});
  CHECK_THROWS(kNonFinite, "state tensor w", engine().predict(s.features_view(), *state));
}

TEST(divergence_is_reported_at_its_step) {
  Support s = Support::example();
  for (float& value : s.features) value *= 1e30F;  // the first gradient overflows
  CHECK_THROWS(kDiverged, "loss is not finite at step 2",
               engine().adapt(s.features_view(), s.labels_view()));
  for (float& value : s.features) value *= 1e9F;  // finite no more
  CHECK_THROWS(kNonFinite, "features", engine().adapt(s.features_view(), s.labels_view()));
}

TEST(a_state_that_overflows_in_the_last_step_is_refused) {
  Learner learner;
  GraphWriter graph = Learner::adapt_nodes();
  // Twice the square of a huge number, in the state only.
  graph.constant("huge", {}, std::vector<float>{std::numeric_limits<float>::max()});
  graph.node("Mul", {"step", "huge"}, "big").node("Mul", {"big", "huge"}, "bigger");
  graph.node("Sub", {"state.w", "bigger"}, "overflowing");
  graph.node("Add", {"next.w", "overflowing"}, "next.x");
  learner.spec.state.push_back({"x", {kDim, kWays}});
  learner.init = Learner::init_graph(0.0F)
                     .node("Identity", {"w0"}, "state.x")
                     .output("state.x", {kDim, kWays})
                     .bytes();
  graph.output("next.w", {kDim, kWays}).output("next.counts", {kWays});
  learner.adapt = graph.output("next.x", {kDim, kWays}).output("loss", {}).bytes();
  const Support s = Support::example();
  CHECK_THROWS(kDiverged, "state tensor x is not finite after step 1",
               learner.engine().adapt(s.features_view(), s.labels_view(), std::nullopt, 1));
}

TEST(a_failure_inside_a_graph_does_not_show_values) {
  Learner learner;  // picks a row by number: 1000 times the label is out of range
  GraphWriter graph = Learner::adapt_nodes();
  graph.constant("thousand", {}, std::vector<std::int64_t>{1000});
  graph.node("Mul", {"labels", "thousand"}, "row").node("Gather", {"state.w", "row"}, "picked");
  graph.node("ReduceSum", {"picked"}, "picked_sum", {{"keepdims", 0}});
  graph.node("Add", {"loss", "picked_sum"}, "total_loss")
      .node("Identity", {"total_loss"}, "next.x");
  graph.output("next.w", {kDim, kWays}).output("next.counts", {kWays}).output("next.x", {});
  learner.adapt = graph.output("loss", {}).bytes();
  learner.spec.state.push_back({"x", {}});
  learner.init = Learner::init_graph(0.0F)
                     .constant("x0", {}, std::vector<float>{0})
                     .node("Identity", {"x0"}, "state.x")
                     .output("state.x", {})
                     .bytes();
  const Support s = Support::example();
  const Engine failing = learner.engine();
  const std::string before = failing.initial_state()->to_bytes();
  try {
    failing.adapt(s.features_view(), s.labels_view());
    CHECK(false);
  } catch (const Error& error) {
    const std::string text = error.what();
    CHECK(error.code() == ErrorCode::kRuntimeFailed);
    CHECK(text.find("adapt.onnx") == 0);
    CHECK(text.find("Gather") != std::string::npos);
    CHECK(text.find("1000") == std::string::npos);
  }
  CHECK(failing.initial_state()->to_bytes() == before);
}

}  // namespace
}  // namespace edge::test
