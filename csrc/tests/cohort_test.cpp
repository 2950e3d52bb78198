// Many support sets: the bits of one call each, and errors that stay with their set.
#include "edge/cohort.h"

#include <vector>

#include "learner.h"
#include "test.h"

namespace edge::test {
namespace {

std::vector<SupportSet> sets_of(const Support& s, std::size_t count) {
  std::vector<SupportSet> sets;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t n = 1 + static_cast<std::int64_t>(i) % s.n();
    SupportSet set;
    set.features = {s.features.data(), {n, kDim}};
    set.taught = LabelView{s.labels.data(), {n}};
    sets.push_back(set);
  }
  return sets;
}

TEST(the_bits_do_not_depend_on_threads) {
  const Engine engine = Learner().engine();
  const Support s = Support::example();
  const std::vector<SupportSet> sets = sets_of(s, 50);
  for (const int threads : {1, 3, 100}) {
    const std::vector<SetOutcome> outcomes = adapt_many(engine, sets, 3, threads);
    CHECK(outcomes.size() == sets.size());
    for (std::size_t i = 0; i < sets.size(); ++i) {
      const auto want =
          engine.adapt(sets[i].features, std::get<LabelView>(sets[i].taught), std::nullopt, 3);
      CHECK(outcomes[i].state && *outcomes[i].state == *want.state);
    }
  }
}

TEST(a_set_starts_where_it_says) {
  const Engine engine = Learner().engine();
  const Support s = Support::example();
  std::vector<SupportSet> sets = sets_of(s, 1);
  const StatePtr half =
      engine.adapt(sets[0].features, std::get<LabelView>(sets[0].taught), std::nullopt, 2).state;
  const StatePtr whole =
      engine.adapt(sets[0].features, std::get<LabelView>(sets[0].taught), std::nullopt, 5).state;
  sets[0].start = half.get();
  CHECK(*adapt_many(engine, sets, 3, 1)[0].state == *whole);
}

TEST(a_bad_set_is_alone_in_failing) {
  const Engine engine = Learner().engine();
  const Support s = Support::example();
  const std::vector<std::int64_t> wrong = {kWays};
  std::vector<SupportSet> sets = sets_of(s, 3);
  sets[1].features.shape[0] = 1;
  sets[1].taught = LabelView{wrong.data(), {1}};
  const std::vector<SetOutcome> outcomes = adapt_many(engine, sets, std::nullopt, 2);
  CHECK(outcomes[0].state && outcomes[2].state);
  CHECK(!outcomes[1].state && outcomes[1].code == ErrorCode::kLabelRange);
}

TEST(no_sets_and_no_threads) {
  const Engine engine = Learner().engine();
  CHECK(adapt_many(engine, {}, std::nullopt, 4).empty());
  CHECK_THROWS(kInvalidOption, "threads", adapt_many(engine, {}, std::nullopt, 0));
  CHECK_THROWS(kInvalidOption, "threads",
               adapt_many(engine, {}, std::nullopt, Engine::kMaxThreads + 1));
}

}  // namespace
}  // namespace edge::test
