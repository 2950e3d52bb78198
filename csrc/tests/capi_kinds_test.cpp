// The C interface on bundles that read examples in order, or learn values.
#include <cstring>
#include <vector>

#include "edge_sdk.h"
#include "edge_sdk.hpp"
#include "test.h"

namespace edge::test {
namespace {

const char* const kGolden = EDGE_TEST_GOLDEN;
constexpr std::size_t kInput = 16;
constexpr std::size_t kFeatures = 8;
constexpr std::size_t kWays = 4;

std::string library() { return std::getenv("EDGE_TEST_ONNXRUNTIME"); }

std::string golden(const char* name) { return std::string(kGolden) + "/" + name; }

edge_sdk::Engine open_engine(const char* name = "tiny_prototypical") {
  return edge_sdk::Engine(edge_sdk::Bundle(golden(name)), library());
}

std::vector<float> inputs(std::size_t n) {
  std::vector<float> x(n * kInput);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 64) / 32 - 1;
  return x;
}

// A call must fail with this status and say so, and leave its results alone.
void refused(edge_status want, const char* text, edge_status got) {
  CHECK(got == want);
  CHECK(std::strstr(edge_last_error(), text) != nullptr);
  if (got != want) std::fprintf(stderr, "  got %s: %s\n", edge_status_name(got), edge_last_error());
}

TEST(a_sequential_bundle_reads_one_example_after_the_other) {
  const edge_sdk::Engine engine = open_engine("tiny_sequential");
  const std::vector<float> features = engine.embed(inputs(3));
  const std::int64_t slots[] = {1, 1, 0};
  const float weights[] = {1, 1, 0};
  float losses[2] = {-1, -1};
  edge_adapt_options options;
  edge_adapt_options_init(&options);
  options.losses = losses;
  options.num_losses = 3;
  edge_state* made = nullptr;
  const auto adapt = [&](std::size_t n) {
    return edge_adapt(engine.get(), features.data(), n * kFeatures, slots, n, &options, &made);
  };
  refused(EDGE_SHAPE_MISMATCH, "losses", adapt(2));
  options.num_losses = 2;
  refused(EDGE_SHAPE_MISMATCH, "losses", adapt(3));
  options.steps = 2;
  refused(EDGE_INVALID_OPTION, "sequential", [&] {
    options.num_losses = 0;
    options.losses = nullptr;
    return adapt(2);
  }());
  options.steps = 0;
  options.losses = losses;
  options.num_losses = 2;
  CHECK(adapt(2) == EDGE_OK);
  CHECK(losses[0] >= 0 && losses[1] >= 0);
  uint8_t* bytes = nullptr;
  std::size_t size = 0;
  CHECK(edge_state_save(made, &bytes, &size) == EDGE_OK);
  const std::vector<std::uint8_t> two(bytes, bytes + size);
  edge_bytes_free(bytes);
  edge_state_release(made);
  options.weights = weights;  // the third example counts nothing
  options.num_weights = 3;
  CHECK(adapt(3) == EDGE_OK);
  CHECK(edge_state_save(made, &bytes, &size) == EDGE_OK);
  CHECK(two == std::vector<std::uint8_t>(bytes, bytes + size));
  edge_bytes_free(bytes);
  edge_state_release(made);
}

TEST(a_regression_learns_values_and_says_how_sure_it_is) {
  const edge_sdk::Engine engine = open_engine("tiny_regression");
  CHECK(edge_engine_outputs(engine.get()) == 2 && engine.ways() == 1);
  CHECK(edge_engine_outputs(open_engine().get()) == kWays);
  CHECK(edge_engine_outputs(nullptr) == 0);
  const std::vector<float> features = engine.embed(inputs(2));
  const float targets[] = {1, -1, 0.5F, 2};
  const std::int64_t slots[] = {0, 0};
  edge_state* state = nullptr;
  refused(EDGE_INVALID_OPTION, "float targets",
          edge_adapt(engine.get(), features.data(), features.size(), slots, 2, nullptr, &state));
  refused(EDGE_SHAPE_MISMATCH, "targets",
          edge_adapt_values(engine.get(), features.data(), features.size(), targets, 3, nullptr,
                            &state));
  refused(EDGE_INVALID_OPTION, "give slots",
          edge_adapt_values(open_engine().get(), features.data(), features.size(), targets, 4,
                            nullptr, &state));
  CHECK(state == nullptr);
  CHECK(edge_adapt_values(engine.get(), features.data(), features.size(), targets, 4, nullptr,
                          &state) == EDGE_OK);
  float mean[4] = {};
  float again[4] = {};
  float variance[4] = {};
  CHECK(edge_predict(engine.get(), state, features.data(), features.size(), mean, 4) == EDGE_OK);
  CHECK(edge_predict_variance(engine.get(), state, features.data(), features.size(), again, 4,
                              variance, 4) == EDGE_OK);
  CHECK(std::memcmp(mean, again, sizeof mean) == 0);
  CHECK(mean[0] != 0 && variance[0] > 0.25F && variance[0] == variance[1]);
  refused(EDGE_SHAPE_MISMATCH, "variance",
          edge_predict_variance(engine.get(), state, features.data(), features.size(), again, 4,
                                variance, 2));
  const edge_sdk::Engine labels = open_engine();
  const edge_sdk::State initial = labels.initial_state();
  std::vector<float> room(kWays);
  refused(EDGE_INVALID_OPTION, "no variance",
          edge_predict_variance(labels.get(), initial.get(), features.data(), kFeatures,
                                room.data(), kWays, room.data(), kWays));
  edge_state_release(state);
}

}  // namespace
}  // namespace edge::test
