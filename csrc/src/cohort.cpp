// Hands support sets to threads one by one; each outcome has its own place.
#include "edge/cohort.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

namespace edge {
namespace {

SetOutcome adapt_one(const Engine& engine, const SupportSet& set,
                     std::optional<std::int64_t> steps) {
  SetOutcome outcome;
  try {
    outcome.state = std::visit(
        [&](const auto& taught) {
          return engine.adapt(set.features, taught, std::nullopt, steps, set.start).state;
        },
        set.taught);
  } catch (const Error& error) {
    outcome.code = error.code();
    outcome.message = error.what();
  }
  return outcome;
}

// The threads of one call; joins those it started, also when a start throws.
class Crew {
 public:
  Crew() = default;
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  Crew(Crew&&) = delete;
  Crew& operator=(Crew&&) = delete;
  ~Crew() { join(); }

  template <typename Work>
  void start(Work work) {
    threads_.emplace_back(work);
  }

  void join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  std::vector<std::thread> threads_;
};

}  // namespace

std::vector<SetOutcome> adapt_many(const Engine& engine, const std::vector<SupportSet>& sets,
                                   std::optional<std::int64_t> steps, int threads) {
  if (threads < 1 || threads > Engine::kMaxThreads) {
    throw Error(ErrorCode::kInvalidOption, "threads must be in 1.." +
                                               std::to_string(Engine::kMaxThreads) + ", got " +
                                               std::to_string(threads));
  }
  std::vector<SetOutcome> outcomes(sets.size());
  std::atomic<std::size_t> next{0};
  const auto crew_size = std::min(static_cast<std::size_t>(threads), sets.size());
  std::vector<std::exception_ptr> failures(crew_size);
  const auto work = [&](std::size_t member) {
    try {
      for (std::size_t i = next++; i < sets.size(); i = next++) {
        outcomes[i] = adapt_one(engine, sets[i], steps);
      }
    } catch (...) {
      failures[member] = std::current_exception();
      next = sets.size();
    }
  };
  {
    Crew crew;
    for (std::size_t member = 1; member < crew_size; ++member) {
      crew.start([&work, member] { work(member); });
    }
    if (crew_size > 0) work(0);
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  return outcomes;
}

}  // namespace edge
