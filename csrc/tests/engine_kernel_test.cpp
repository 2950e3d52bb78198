// An engine whose bundle declares a head kernel: it adapts as the graph does, and refuses misfits.
#include <cmath>
#include <string>

#include "edge/engine.h"
#include "learner.h"
#include "test.h"

namespace edge::test {
namespace {

// The tests' learner keeps its weights as `[dim, ways]` and has no bias: this one has the kernel's
// layout, and an adapt.onnx that could not even be loaded, which shows that it is not run.
Learner kernel_learner() {
  Learner learner;
  learner.spec.state = {{"w", {kWays, kDim}}, {"b", {kWays}}, {"counts", {kWays}}};
  learner.spec.kernel = SoftmaxSgd{"w", "b", static_cast<double>(kRate), 0, false};
  GraphWriter init;
  init.constant("w0", {kWays, kDim}, std::vector<float>(kDim * kWays, 0.0F));
  init.constant("b0", {kWays}, std::vector<float>(kWays, 0.0F));
  init.constant("counts0", {kWays}, std::vector<float>(kWays, 0.0F));
  init.node("Identity", {"w0"}, "state.w").node("Identity", {"b0"}, "state.b");
  init.node("Identity", {"counts0"}, "state.counts").output("state.w", {kWays, kDim});
  learner.init = init.output("state.b", {kWays}).output("state.counts", {kWays}).bytes();
  GraphWriter predict;
  predict.input("state.w", {kWays, kDim}).input("state.b", {kWays}).input("features", {-1, kDim});
  predict.node("Transpose", {"state.w"}, "w_t").node("MatMul", {"features", "w_t"}, "z");
  learner.predict =
      predict.node("Add", {"z", "state.b"}, "logits").output("logits", {-1, kWays}).bytes();
  return learner;
}

TEST(the_kernel_runs_in_place_of_the_graph) {
  const Engine engine = kernel_learner().engine();
  Support support = Support::example();
  // one step from zero: the reference's lack of a bias does not show yet
  const Adaptation one =
      engine.adapt(support.features_view(), support.labels_view(), support.weights_view(), 1);
  const Support::Reference want = support.run(1);
  CHECK(one.losses.size() == 1);
  CHECK(std::abs(static_cast<double>(one.losses[0]) - want.losses[0]) < 1e-6);
  for (std::size_t way = 0; way < kWays; ++way) {
    for (std::size_t d = 0; d < kDim; ++d) {
      const auto got = static_cast<double>(one.state->data(0)[(way * kDim) + d]);
      CHECK(std::abs(got - want.w[(d * kWays) + way]) < 1e-6);
    }
  }
  CHECK(one.state->data(2)[1] == 1.5F);  // weights 0.5, 1 and 0
  CHECK(engine.adapt(support.features_view(), support.labels_view()).losses.size() == 5);
}

TEST(a_kernel_starts_from_any_state_and_changes_none) {
  const Engine engine = kernel_learner().engine();
  const Support s = Support::example();
  const Adaptation two = engine.adapt(s.features_view(), s.labels_view(), s.weights_view(), 2);
  const std::string before = two.state->to_bytes();
  const StatePtr read_back = State::from_bytes(before);
  const Adaptation more =
      engine.adapt(s.features_view(), s.labels_view(), s.weights_view(), 3, read_back.get());
  const Adaptation five = engine.adapt(s.features_view(), s.labels_view(), s.weights_view(), 5);
  CHECK(*more.state == *five.state);
  CHECK(two.state->to_bytes() == before);
}

TEST(a_kernel_that_diverges_is_an_error) {
  Learner learner = kernel_learner();
  learner.spec.kernel->rate = 1e6;
  const Engine engine = learner.engine();
  Support s = Support::example();
  for (float& feature : s.features) feature *= 1e30F;
  CHECK_THROWS(kDiverged, "not finite",
               engine.adapt(s.features_view(), s.labels_view(), std::nullopt, 100));
}

TEST(a_kernel_that_does_not_fit_is_refused) {
  const auto refused = [](const char* text, const auto& change) {
    Learner learner = kernel_learner();
    change(learner);
    CHECK_THROWS(kBadBundle, text, learner.engine());
  };
  using L = Learner&;
  refused("kernel needs a state tensor v", [](L l) { l.spec.kernel->weight = "v"; });
  refused("kernel needs a state tensor w of shape [3]", [](L l) { l.spec.kernel->bias = "w"; });
  refused("must not take counts", [](L l) { l.spec.kernel->bias = "counts"; });
  refused("rate must be", [](L l) { l.spec.kernel->rate = 0; });
  refused("rate must be", [](L l) { l.spec.kernel->rate = 1e7; });
  refused("rate must be", [](L l) { l.spec.kernel->rate = std::nan(""); });
  refused("momentum must be", [](L l) { l.spec.kernel->momentum = 1; });
  refused("exactly 5 tensors", [](L l) { l.spec.kernel->momentum = 0.5; });
  refused("adapt.onnx", [](L l) { l.adapt = "nonsense"; });
  refused("gradient bundle", [](L l) {
    l.spec.loop = InnerLoop::kClosedForm;
    l.spec.steps = 1;
  });
}

}  // namespace
}  // namespace edge::test
