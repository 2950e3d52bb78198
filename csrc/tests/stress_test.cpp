// Four threads predict, one adapts and one commits, for a while: no data race under TSan, and every
// prediction is that of the one version it names.
//
// EDGE_STRESS_SECONDS: how long in all, half of it with each learner; 0.4 by default.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "edge_sdk.hpp"
#include "test.h"

namespace edge::test {
namespace {

namespace fs = std::filesystem;

using Bytes = std::vector<std::uint8_t>;
using Clock = std::chrono::steady_clock;
using Logits = std::vector<float>;

constexpr int kPredicting = 4;
constexpr std::size_t kInput = 16;
constexpr std::size_t kMostExamples = 24;
constexpr double kDefaultSeconds = 0.4;

double seconds_in_all() {
  const char* const given = std::getenv("EDGE_STRESS_SECONDS");
  return given != nullptr ? std::atof(given) : kDefaultSeconds;
}

std::vector<float> inputs(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);  // NOLINT(cert-msc51-cpp): the same in every run
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> x(n * kInput);
  for (float& value : x) value = uniform(random);
  return x;
}

// What the adapting thread hands to the committing one, and the last of it.
class Candidates {
 public:
  struct Item {
    edge_sdk::LiveState::Ptr seen;
    edge_sdk::State state;
  };

  // Waits until the one before is taken, so that neither thread runs away from the other.
  void put(Item item) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !waiting_ || closed_; });
    if (!closed_) waiting_.emplace(std::move(item));
    changed_.notify_all();
  }

  std::optional<Item> take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ || closed_; });
    std::optional<Item> item = std::move(waiting_);
    waiting_.reset();
    changed_.notify_all();
    return item;
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Item> waiting_;
  bool closed_ = false;
};

// One user's app: its threads, and what each of them saw.
class App {
 public:
  explicit App(const std::string& name)
      : engine_(edge_sdk::Bundle(std::string(EDGE_TEST_GOLDEN) + "/" + name),
                std::getenv("EDGE_TEST_ONNXRUNTIME")),
        live_(engine_.initial_state()),
        query_(inputs(3, 7)),
        file_(fs::temp_directory_path() / ("edge-stress-" + name + ".bin")) {
    stored_.push_back(live_.get()->state.save());
  }

  void run(double seconds) {
    std::vector<std::thread> threads;
    for (int t = 0; t < kPredicting; ++t) threads.emplace_back([this, t] { predict(t); });
    std::thread committing([this] { commit(); });
    std::thread adapting([this] { adapt(); });
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    stop_ = true;
    for (std::thread& thread : threads) thread.join();
    adapting.join();
    candidates_.close();
    committing.join();
  }

  // Each version's stored bytes must give the very logits that were answered under its number.
  void check() {
    std::size_t answers = 0;
    std::map<std::int64_t, Logits> want;
    for (const auto& seen : seen_) {
      for (const auto& [number, logits] : seen) {
        auto found = want.find(number);
        if (found == want.end()) {
          const edge_sdk::State state = engine_.load_state(stored_.at(index(number)));
          found = want.emplace(number, engine_.predict(state, engine_.embed(query_))).first;
        }
        CHECK(logits == found->second);
        ++answers;
      }
    }
    CHECK(mixed_ == 0);
    CHECK(failed_ == 0);
    CHECK(stored_.size() > 2);
    CHECK(answers > kPredicting);
    std::ifstream file(file_, std::ios::binary);
    CHECK(Bytes(std::istreambuf_iterator<char>(file), {}) == stored_.back());
    file.close();
    fs::remove(file_);
    std::fprintf(stderr, "%zu versions, %lld predictions, %zu distinct answers checked\n",
                 stored_.size(), predictions_.load(), answers);
  }

 private:
  static std::size_t index(std::int64_t number) { return static_cast<std::size_t>(number); }

  template <typename Work>
  void until_stopped(const Work& work) {
    try {
      while (!stop_) work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "a thread failed: %s\n", error.what());
      ++failed_;
    }
  }

  void predict(int thread) {
    std::map<std::int64_t, Logits>& seen = seen_[static_cast<std::size_t>(thread)];
    until_stopped([&] {
      const edge_sdk::LiveState::Ptr now = live_.get();
      const Logits logits = engine_.predict(now->state, engine_.embed(query_));
      const auto [first, is_new] = seen.emplace(now->number, logits);
      if (!is_new && first->second != logits) ++mixed_;
      ++predictions_;
    });
  }

  void adapt() {
    edge_sdk::Examples examples = engine_.make_examples();
    unsigned turn = 0;
    until_stopped([&] {
      const edge_sdk::LiveState::Ptr seen = live_.get();
      const auto slot = static_cast<std::int64_t>(turn % engine_.ways());
      if (examples.size() >= kMostExamples) examples.remove_slot(slot);
      examples.add(engine_.embed(inputs(1, ++turn)), {slot});
      candidates_.put({seen, engine_.adapt(examples)});
    });
  }

  // Stored first, then seen: as an app does it.
  void commit() {
    try {
      while (std::optional<Candidates::Item> item = candidates_.take()) {
        const Bytes bytes = item->state.save();
        {
          std::ofstream file(file_, std::ios::binary | std::ios::trunc);
          file.write(reinterpret_cast<const char*>(bytes.data()),
                     static_cast<std::streamsize>(bytes.size()));
        }
        stored_.push_back(bytes);
        // The one before may just have been committed: then this one follows that.
        edge_sdk::LiveState::Ptr seen = item->seen;
        edge_sdk::State state = std::move(item->state);
        if (live_.get() != seen) {
          CHECK(live_.replace(seen, engine_.load_state(bytes)) == nullptr);
          seen = live_.get();
        }
        CHECK(live_.replace(seen, std::move(state)) != nullptr);
      }
    } catch (const std::exception& error) {
      std::fprintf(stderr, "committing failed: %s\n", error.what());
      ++failed_;
    }
  }

  const edge_sdk::Engine engine_;
  edge_sdk::LiveState live_;
  const std::vector<float> query_;
  const fs::path file_;
  Candidates candidates_;
  std::atomic<bool> stop_{false};
  std::atomic<int> failed_{0};
  std::atomic<int> mixed_{0};
  std::atomic<long long> predictions_{0};
  std::vector<Bytes> stored_;  // of each version; the committing thread's until it has ended
  std::map<std::int64_t, Logits> seen_[kPredicting];  // each thread's own
};

void stress(const char* name) {
  App app(name);
  app.run(seconds_in_all() / 2);
  app.check();
}

TEST(every_answer_is_of_the_version_it_names_while_a_closed_form_changes) {
  stress("tiny_prototypical");
}

TEST(every_answer_is_of_the_version_it_names_while_a_gradient_learner_changes) {
  stress("tiny_gradient");
}

}  // namespace
}  // namespace edge::test
