// One engine, several threads: the same bits as one thread.
#include <atomic>
#include <thread>

#include "edge/engine.h"
#include "learner.h"
#include "test.h"

namespace edge::test {
namespace {

constexpr int kThreads = 4;
constexpr int kRounds = 100;

TEST(threads_share_an_engine) {
  Learner learner;
  learner.embed = Learner::embed_graph().bytes();
  const Engine engine = learner.engine();
  const Support s = Support::example();
  const Adaptation want = engine.adapt(s.features_view(), s.labels_view(), s.weights_view());
  const Tensor logits = engine.predict(s.features_view(), *want.state);
  const auto same = [](const Tensor& a, const Tensor& b) {
    return std::equal(a.data.get(), a.data.get() + element_count(a.shape), b.data.get());
  };
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < kRounds; ++round) {
        const std::int64_t n = 1 + (t + round) % s.n();  // sizes differ from thread to thread
        const Adaptation got = engine.adapt(s.features_view(), s.labels_view(), s.weights_view());
        if (*got.state != *want.state || got.losses != want.losses) ++wrong;
        if (!same(engine.predict({s.features.data(), {n, kDim}}, *got.state),
                  engine.predict({s.features.data(), {n, kDim}}, *want.state))) {
          ++wrong;
        }
        if (!same(engine.predict(s.features_view(), *got.state), logits)) ++wrong;
        engine.embed({s.features.data(), {n, kDim}});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST(engines_are_made_and_dropped_in_parallel) {
  const Support s = Support::example();
  const StatePtr want = Learner().engine().adapt(s.features_view(), s.labels_view()).state;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 3; ++round) {
        if (*Learner().engine().adapt(s.features_view(), s.labels_view()).state != *want) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace edge::test
