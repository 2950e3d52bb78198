// The C interface on a golden bundle: the whole loop, and everything that can be refused.
#include <cmath>
#include <cstring>
#include <thread>
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

TEST(teaches_predicts_saves_and_restores) {
  for (const char* name : {"tiny_prototypical", "tiny_gradient"}) {
    const edge_sdk::Engine engine = open_engine(name);
    CHECK(engine.input_size() == kInput && engine.feature_size() == kFeatures);
    CHECK(engine.ways() == kWays);
    const std::vector<float> features = engine.embed(inputs(5));
    edge_sdk::Examples examples = engine.make_examples();
    examples.add(features, {0, 1, 2, 1, 0});
    const edge_sdk::State state = engine.adapt(examples);
    const std::vector<float> logits = engine.predict(state, features);
    CHECK(logits.size() == 5 * kWays);
    CHECK(logits[3] == -1e9F);
    CHECK(state.tensor("counts") == (std::vector<float>{2, 2, 1, 0}));

    const edge_sdk::Engine again = open_engine(name);
    CHECK(again.predict(again.load_state(state.save()), features) == logits);
    edge_sdk::Examples stored = again.load_examples(examples.save());
    CHECK(stored.size() == 5);
    CHECK(again.adapt(stored).save() == state.save());

    CHECK(stored.remove_slot(2) == 1);
    edge_sdk::Examples never = again.make_examples();
    std::vector<float> kept(features.begin(), features.begin() + 2 * kFeatures);
    kept.insert(kept.end(), features.begin() + 3 * kFeatures, features.end());
    never.add(kept, {0, 1, 1, 0});
    CHECK(again.adapt(stored).save() == again.adapt(never).save());
  }
}

TEST(adapts_with_every_option) {
  const edge_sdk::Engine engine = open_engine("tiny_gradient");
  const std::vector<float> features = engine.embed(inputs(3));
  const std::int64_t slots[] = {0, 1, 1};
  const float weights[] = {1, 1, 0};
  float losses[2] = {-1, -1};
  edge_adapt_options options;
  edge_adapt_options_init(&options);
  options.weights = weights;
  options.num_weights = 3;
  options.steps = 2;
  options.losses = losses;
  options.num_losses = 2;
  edge_state* first = nullptr;
  CHECK(edge_adapt(engine.get(), features.data(), features.size(), slots, 3, &options, &first) ==
        EDGE_OK);
  CHECK(losses[0] > losses[1] && losses[1] > 0);
  options.start = first;
  edge_state* second = nullptr;
  CHECK(edge_adapt(engine.get(), features.data(), features.size(), slots, 3, &options, &second) ==
        EDGE_OK);
  edge_adapt_options four_steps;
  edge_adapt_options_init(&four_steps);
  four_steps.steps = 4;
  edge_state* whole = nullptr;
  CHECK(edge_adapt(engine.get(), features.data(), 2 * kFeatures, slots, 2, &four_steps, &whole) ==
        EDGE_OK);
  const float* values[2] = {};
  std::size_t count = 0;
  CHECK(edge_state_tensor(second, "weight", &values[0], &count) == EDGE_OK);
  CHECK(edge_state_tensor(whole, "weight", &values[1], &count) == EDGE_OK);
  CHECK(count == kWays * kFeatures);
  for (std::size_t i = 0; i < count; ++i) CHECK(std::fabs(values[0][i] - values[1][i]) < 1e-6F);
  for (edge_state* state : {first, second, whole}) edge_state_release(state);
}

TEST(wrong_arrays_are_refused_and_written_nowhere) {
  const edge_sdk::Engine engine = open_engine();
  const edge_sdk::State state = engine.initial_state();
  std::vector<float> x = inputs(1);
  std::vector<float> out(kFeatures, 7);
  const std::int64_t slot[] = {0};
  const std::int64_t far[] = {4};
  edge_state* made = nullptr;
  const auto embed = [&](std::size_t in, std::size_t room) {
    return edge_embed(engine.get(), x.data(), in, out.data(), room);
  };
  refused(EDGE_SHAPE_MISMATCH, "x must hold n * 16", embed(kInput - 1, kFeatures));
  refused(EDGE_SHAPE_MISMATCH, "exactly 8", embed(kInput, kFeatures - 1));
  refused(EDGE_SHAPE_MISMATCH, "at least one", embed(0, 0));
  refused(EDGE_NULL_ARGUMENT, "x",
          edge_embed(engine.get(), nullptr, kInput, out.data(), kFeatures));
  x[3] = NAN;
  refused(EDGE_NON_FINITE, "x holds", embed(kInput, kFeatures));
  CHECK(out == std::vector<float>(kFeatures, 7));
  const auto adapt = [&](std::size_t floats, const std::int64_t* slots, std::size_t num_slots) {
    return edge_adapt(engine.get(), out.data(), floats, slots, num_slots, nullptr, &made);
  };
  refused(EDGE_LABEL_RANGE, "labels[0]", adapt(kFeatures, far, 1));
  refused(EDGE_SHAPE_MISMATCH, "labels", adapt(kFeatures, slot, 0));
  refused(EDGE_EMPTY_SUPPORT, "at least one", adapt(0, slot, 0));
  refused(EDGE_NULL_ARGUMENT, "slots", adapt(kFeatures, nullptr, 1));
  CHECK(made == nullptr);
  refused(EDGE_SHAPE_MISMATCH, "exactly 4",
          edge_predict(engine.get(), state.get(), out.data(), kFeatures, x.data(), 3));
  refused(EDGE_NULL_ARGUMENT, "state",
          edge_predict(engine.get(), nullptr, out.data(), kFeatures, x.data(), kWays));
}

TEST(wrong_options_are_refused) {
  const edge_sdk::Engine engine = open_engine();
  const std::vector<float> features(kFeatures, 1);
  const std::int64_t slot[] = {0};
  edge_adapt_options options = {};
  edge_state* made = nullptr;
  const auto adapt = [&] {
    return edge_adapt(engine.get(), features.data(), kFeatures, slot, 1, &options, &made);
  };
  refused(EDGE_INVALID_OPTION, "edge_adapt_options_init", adapt());
  edge_adapt_options_init(&options);
  options.steps = 2;
  refused(EDGE_INVALID_OPTION, "closed-form", adapt());
  options.steps = -1;
  refused(EDGE_INVALID_OPTION, "steps", adapt());
  options.steps = 0;
  options.num_weights = 1;
  refused(EDGE_NULL_ARGUMENT, "weights", adapt());
  const float zero[] = {0};
  options.weights = zero;
  refused(EDGE_EMPTY_SUPPORT, "zero", adapt());
  edge_adapt_options_init(&options);
  float losses[2] = {};
  options.losses = losses;
  options.num_losses = 2;
  refused(EDGE_SHAPE_MISMATCH, "losses", adapt());
  CHECK(made == nullptr);

  const edge_sdk::Bundle bundle(golden("tiny_prototypical"));
  edge_engine_options how = {};
  edge_engine* loaded = nullptr;
  refused(EDGE_INVALID_OPTION, "edge_engine_options_init",
          edge_engine_create(bundle.get(), &how, &loaded));
  edge_engine_options_init(&how);
  const std::string path = library();
  how.runtime_library = path.c_str();
  how.threads = 0;
  refused(EDGE_INVALID_OPTION, "threads", edge_engine_create(bundle.get(), &how, &loaded));
  how.threads = 1;
  const char* const providers[] = {"abacus"};
  how.providers = providers;
  how.num_providers = 1;
  refused(EDGE_INVALID_OPTION, "abacus", edge_engine_create(bundle.get(), &how, &loaded));
  how.providers = nullptr;
  refused(EDGE_NULL_ARGUMENT, "providers", edge_engine_create(bundle.get(), &how, &loaded));
  edge_engine_options_init(&how);
  how.runtime_library = "/nowhere/libonnxruntime.so";
  refused(EDGE_RUNTIME_LIBRARY, "onnxruntime", edge_engine_create(bundle.get(), &how, &loaded));
  CHECK(loaded == nullptr);
}

TEST(bytes_of_another_bundle_or_damaged_ones_are_refused) {
  const edge_sdk::Engine one = open_engine("tiny_prototypical");
  const edge_sdk::Engine other = open_engine("tiny_gradient");
  const std::vector<std::uint8_t> bytes = one.initial_state().save();
  edge_state* state = nullptr;
  refused(EDGE_BAD_STATE, "state",
          edge_state_load(other.get(), bytes.data(), bytes.size(), &state));
  refused(EDGE_BAD_STATE, "damaged",
          edge_state_load(one.get(), bytes.data(), bytes.size() - 1, &state));
  refused(EDGE_BAD_STATE, "too early", edge_state_load(one.get(), bytes.data(), 0, &state));
  refused(EDGE_NULL_ARGUMENT, "bytes", edge_state_load(one.get(), nullptr, 0, &state));
  CHECK(state == nullptr);
  edge_examples* examples = nullptr;
  refused(EDGE_BAD_STATE, "not the bytes of examples",
          edge_examples_load(one.get(), bytes.data(), bytes.size(), &examples));
  CHECK(examples == nullptr);
  edge_sdk::Examples none = one.make_examples();
  refused(EDGE_EMPTY_SUPPORT, "at least one",
          edge_adapt_examples(one.get(), none.get(), nullptr, &state));
  refused(EDGE_LABEL_RANGE, "slot", edge_examples_remove_slot(none.get(), 4, nullptr));
}

TEST(nothing_is_needed_to_give_nothing_back) {
  edge_bundle_close(nullptr);
  edge_engine_destroy(nullptr);
  edge_state_release(nullptr);
  edge_examples_release(nullptr);
  edge_bytes_free(nullptr);
  edge_engine_options_init(nullptr);
  edge_adapt_options_init(nullptr);
  CHECK(edge_bundle_name(nullptr) == nullptr && edge_bundle_digest(nullptr) == nullptr);
  CHECK(edge_bundle_version(nullptr) == 0 && edge_bundle_num_labels(nullptr) == 0);
  CHECK(edge_engine_ways(nullptr) == 0 && edge_engine_steps(nullptr) == 0);
  CHECK(edge_engine_runtime_version(nullptr) == nullptr);
  CHECK(edge_examples_count(nullptr) == 0 && edge_examples_features(nullptr) == nullptr);
  CHECK(edge_examples_slots(nullptr) == nullptr);
  refused(EDGE_NULL_ARGUMENT, "path must not be NULL", edge_bundle_open(nullptr, nullptr));
}

TEST(a_bundle_names_itself_and_its_labels) {
  const edge_sdk::Bundle bundle(golden("tiny_labelled"));
  CHECK(bundle.name() == "tiny-labelled" && bundle.version() == 1);
  CHECK(bundle.digest().size() == 64);
  CHECK(bundle.labels() == (std::vector<std::string>{"circle", "square"}));
  CHECK(edge_bundle_label(bundle.get(), 2, nullptr) == nullptr);
  try {
    const edge_sdk::Bundle missing(golden("nothing"));
    CHECK(false);
  } catch (const edge_sdk::Error& error) {
    CHECK(error.status() == EDGE_BAD_BUNDLE);
    CHECK(std::string(error.what()).find("a bundle is a folder") != std::string::npos);
  }
}

TEST(a_trust_policy_asks_for_a_signature_and_for_keys_that_are_some) {
  // Signed bundles are opened in tests/e2e/test_signed_readers.py.
  std::vector<std::uint8_t> keys(32, 0);
  edge_trust trust = {};
  edge_bundle* opened = nullptr;
  const std::string path = golden("tiny_labelled");
  const auto open = [&] { return edge_bundle_open_trusted(path.c_str(), &trust, &opened); };
  refused(EDGE_INVALID_OPTION, "edge_trust_init", open());
  edge_trust_init(&trust);
  refused(EDGE_INVALID_OPTION, "at least one public key", open());
  trust.num_keys = 1;
  refused(EDGE_NULL_ARGUMENT, "keys", open());
  trust.keys = keys.data();
  refused(EDGE_INVALID_OPTION, "trusted key 0", open());
  // That of RFC 8032's first example.
  keys = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe,
          0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6,
          0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};
  trust.keys = keys.data();
  refused(EDGE_BAD_SIGNATURE, "manifest.sig is missing", open());
  trust.today = "today";
  refused(EDGE_INVALID_OPTION, "YYYY-MM-DD", open());
  refused(EDGE_NULL_ARGUMENT, "trust", edge_bundle_open_trusted(path.c_str(), nullptr, &opened));
  CHECK(opened == nullptr);
  edge_trust_init(nullptr);
  trust.today = nullptr;
  try {
    const edge_sdk::Bundle bundle(path, trust);
    CHECK(false);
  } catch (const edge_sdk::Error& error) {
    CHECK(error.status() == EDGE_BAD_SIGNATURE);
  }
}

TEST(statuses_have_the_names_of_the_core) {
  for (const ErrorCode code : kAllErrorCodes) {
    const auto status = static_cast<edge_status>(static_cast<int>(code) + 1);
    CHECK(std::string(edge_status_name(status)) == code_name(code));
  }
  CHECK(std::string(edge_status_name(EDGE_OK)) == "ok");
}

TEST(threads_share_an_engine_and_keep_their_errors_apart) {
  const edge_sdk::Engine engine = open_engine();
  const std::vector<float> features = engine.embed(inputs(4));
  edge_sdk::Examples examples = engine.make_examples();
  examples.add(features, {0, 1, 2, 3});
  const std::vector<std::uint8_t> want = engine.adapt(examples).save();
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      const std::string mine = "/nowhere/" + std::to_string(t);
      for (int round = 0; round < 50; ++round) {
        edge_engine_options options;
        edge_engine_options_init(&options);
        options.runtime_library = mine.c_str();
        const edge_sdk::Bundle bundle(golden("tiny_prototypical"));
        edge_engine* none = nullptr;
        if (edge_engine_create(bundle.get(), &options, &none) == EDGE_OK) ++wrong[t];
        if (engine.adapt(examples).save() != want) ++wrong[t];
        if (std::string(edge_last_error()).find(mine) == std::string::npos) ++wrong[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

}  // namespace
}  // namespace edge::test
