// Engine: embeds, adapts and predicts as the graphs say.
#include "edge/engine.h"

#include <cmath>

#include "learner.h"
#include "test.h"

namespace edge::test {
namespace {

// float32 sums of seven rows, five steps: a few units in the last place of numbers near 1.
constexpr double kTolerance = 1e-6;

bool near(double a, double b) { return std::abs(a - b) <= kTolerance; }

TEST(the_initial_state_is_what_init_gives) {
  Learner learner;
  learner.init = Learner::init_graph(0.5F).bytes();
  const Engine engine = learner.engine();
  const StatePtr state = engine.initial_state();
  CHECK(state->size() == 2);
  CHECK(state->spec(0).name == "w");
  CHECK(state->data(0)[11] == 0.5F);
  CHECK(state->data(1)[0] == 0.0F);
  CHECK(!engine.runtime_version().empty());
}

TEST(adapting_takes_the_steps_a_reference_takes) {
  const Engine engine = Learner().engine();
  const Support support = Support::example();
  for (const int steps : {1, 2, 5, 6}) {
    const Adaptation got =
        engine.adapt(support.features_view(), support.labels_view(), support.weights_view(), steps);
    const Support::Reference want = support.run(steps);
    CHECK(got.losses.size() == want.losses.size());
    for (std::size_t i = 0; i < want.losses.size(); ++i) CHECK(near(got.losses[i], want.losses[i]));
    for (std::size_t i = 0; i < want.w.size(); ++i) CHECK(near(got.state->data(0)[i], want.w[i]));
  }
}

TEST(without_weights_every_example_counts_once) {
  const Engine engine = Learner().engine();
  Support support = Support::example();
  support.weights.assign(support.labels.size(), 1.0F);
  const Adaptation with =
      engine.adapt(support.features_view(), support.labels_view(), support.weights_view());
  const Adaptation without = engine.adapt(support.features_view(), support.labels_view());
  CHECK(*with.state == *without.state);
  CHECK(without.losses.size() == 5);
  CHECK(without.state->data(1)[1] == 3.0F);  // three examples of slot 1
}

TEST(going_on_from_a_state_is_the_same_as_more_steps) {
  const Engine engine = Learner().engine();
  const Support s = Support::example();
  const Adaptation two = engine.adapt(s.features_view(), s.labels_view(), s.weights_view(), 2);
  const StatePtr kept = State::from_bytes(two.state->to_bytes());
  const Adaptation more =
      engine.adapt(s.features_view(), s.labels_view(), s.weights_view(), 3, kept.get());
  const Adaptation five = engine.adapt(s.features_view(), s.labels_view(), s.weights_view(), 5);
  CHECK(*more.state == *five.state);
  CHECK(*kept == *two.state);
}

TEST(adapting_changes_neither_the_start_nor_the_initial_state) {
  const Engine engine = Learner().engine();
  const std::string before = engine.initial_state()->to_bytes();
  const Support s = Support::example();
  const StatePtr start = engine.adapt(s.features_view(), s.labels_view()).state;
  const std::string start_before = start->to_bytes();
  const StatePtr after =
      engine.adapt(s.features_view(), s.labels_view(), std::nullopt, 4, start.get()).state;
  CHECK(engine.initial_state()->to_bytes() == before);
  CHECK(start->to_bytes() == start_before);
  CHECK(*after != *start);
}

TEST(predict_multiplies_by_the_state) {
  const Engine engine = Learner().engine();
  const Support s = Support::example();
  const StatePtr state = engine.adapt(s.features_view(), s.labels_view()).state;
  for (const std::int64_t n : {std::int64_t{1}, s.n()}) {
    const Tensor logits = engine.predict({s.features.data(), {n, kDim}}, *state);
    CHECK((logits.shape == Shape{n, kWays}));
    for (std::size_t row = 0; row < static_cast<std::size_t>(n); ++row) {
      for (std::size_t way = 0; way < kWays; ++way) {
        double want = 0;
        for (std::size_t d = 0; d < kDim; ++d) {
          want += static_cast<double>(s.features[row * kDim + d]) *
                  static_cast<double>(state->data(0)[d * kWays + way]);
        }
        CHECK(near(logits.data[row * kWays + way], want));
      }
    }
  }
}

TEST(embed_runs_the_graph_or_copies) {
  Learner learner;
  const Support s = Support::example();
  const Tensor copy = learner.engine().embed(s.features_view());
  learner.embed = Learner::embed_graph().bytes();
  const Tensor twice = learner.engine().embed(s.features_view());
  CHECK((copy.shape == Shape{s.n(), kDim}));
  CHECK(copy.data.get() != s.features.data());
  for (std::size_t i = 0; i < s.features.size(); ++i) {
    CHECK(copy.data[i] == s.features[i]);
    CHECK(twice.data[i] == 2 * s.features[i]);
  }
}

TEST(a_state_tensor_may_be_passed_through) {
  // next.counts is the input itself, and the output of the graph that reads nothing else of it.
  Learner learner;
  GraphWriter graph = Learner::adapt_nodes();
  graph.node("Identity", {"state.counts"}, "next.same");
  learner.spec.state.push_back({"same", {kWays}});
  learner.init = Learner::init_graph(0.0F)
                     .constant("same0", {kWays}, std::vector<float>{1, 2, 3})
                     .node("Identity", {"same0"}, "state.same")
                     .output("state.same", {kWays})
                     .bytes();
  graph.output("next.w", {kDim, kWays}).output("next.counts", {kWays});
  learner.adapt = graph.output("next.same", {kWays}).output("loss", {}).bytes();
  const Support s = Support::example();
  const Engine engine = learner.engine();
  const Adaptation one = engine.adapt(s.features_view(), s.labels_view(), std::nullopt, 1);
  const Adaptation two = engine.adapt(s.features_view(), s.labels_view(), std::nullopt, 2);
  CHECK(one.state->data(2)[1] == 0.0F);  // the counts before the step
  CHECK(two.state->data(2)[1] == 3.0F);
}

}  // namespace
}  // namespace edge::test
