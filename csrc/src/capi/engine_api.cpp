// edge_sdk.h: bundles and engines.
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "capi/boundary.h"
#include "capi/find_runtime.h"
#include "capi/handles.h"
#include "edge/error.h"

using edge::Bundle;
using edge::Engine;
using edge::RuntimeOptions;
using edge::capi::check_output;
using edge::capi::guarded;
using edge::capi::require;
using edge::capi::rows;

namespace {

RuntimeOptions read_options(const edge_engine_options* given) {
  RuntimeOptions options;
  if (given != nullptr) {
    if (given->struct_size != sizeof *given) {
      throw edge::Error(edge::ErrorCode::kInvalidOption,
                        "fill edge_engine_options with edge_engine_options_init first");
    }
    options.threads = given->threads;
    if (given->runtime_library != nullptr) options.library = given->runtime_library;
    if (given->providers != nullptr) {
      options.providers.clear();
      for (std::size_t i = 0; i < given->num_providers; ++i) {
        options.providers.emplace_back(&require(given->providers[i], "providers[i]"));
      }
    } else if (given->num_providers != 0) {
      require(given->providers, "providers");
    }
  }
  if (options.library.empty()) options.library = edge::capi::find_runtime();
  return options;
}

edge::Trust read_trust(const edge_trust& given) {
  if (given.struct_size != sizeof given) {
    throw edge::Error(edge::ErrorCode::kInvalidOption,
                      "fill edge_trust with edge_trust_init first");
  }
  edge::Trust trust;
  if (given.num_keys > 0) require(given.keys, "keys");
  for (std::size_t i = 0; i < given.num_keys; ++i) {
    edge::PublicKey key{};
    std::memcpy(key.data(), given.keys + i * key.size(), key.size());
    trust.keys.push_back(key);
  }
  if (given.today != nullptr) trust.today = given.today;
  trust.accepted_version = given.newest_version;
  if (given.newest_digest != nullptr) trust.accepted_digest = given.newest_digest;
  return trust;
}

struct Input {
  const float* data;
  std::size_t count;
};

struct Output {
  float* data;
  std::size_t count;
};

void predict(const edge_engine* engine, const edge_state* state, const Input& features,
             const Output& predictions, const std::optional<Output>& variance) {
  const edge_engine& e = require(engine, "engine");
  const edge::State& learned = *require(state, "state").state;
  const edge::FloatView examples =
      rows(features.data, features.count, e.binding.feature_shape, e.feature_size, "features");
  const std::size_t wanted = features.count / e.feature_size * edge_engine_outputs(engine);
  check_output(predictions.data, predictions.count, wanted, "predictions");
  if (variance) check_output(variance->data, variance->count, wanted, "variance");
  edge::Tensor spread;
  const edge::Tensor result = e.engine.predict(examples, learned, variance ? &spread : nullptr);
  std::memcpy(predictions.data, result.data.get(), wanted * sizeof(float));
  if (variance) std::memcpy(variance->data, spread.data.get(), wanted * sizeof(float));
}

}  // namespace

edge_status edge_bundle_open(const char* path, edge_bundle** bundle) {
  return guarded([&] {
    require(path, "path");
    require(bundle, "bundle");
    *bundle = std::make_unique<edge_bundle>(edge_bundle{edge::open_bundle(path)}).release();
  });
}

void edge_trust_init(edge_trust* trust) {
  if (trust != nullptr) *trust = {sizeof *trust, nullptr, 0, nullptr, 0, nullptr};
}

edge_status edge_bundle_open_trusted(const char* path, const edge_trust* trust,
                                     edge_bundle** bundle) {
  return guarded([&] {
    require(path, "path");
    require(bundle, "bundle");
    const edge::Trust read = read_trust(require(trust, "trust"));
    *bundle = std::make_unique<edge_bundle>(edge_bundle{edge::open_bundle(path, &read)}).release();
  });
}

void edge_bundle_close(edge_bundle* bundle) { delete bundle; }

const char* edge_bundle_name(const edge_bundle* bundle) {
  return bundle != nullptr ? bundle->bundle.manifest.name.c_str() : nullptr;
}

int64_t edge_bundle_version(const edge_bundle* bundle) {
  return bundle != nullptr ? bundle->bundle.manifest.version : 0;
}

const char* edge_bundle_digest(const edge_bundle* bundle) {
  return bundle != nullptr ? bundle->bundle.digest.c_str() : nullptr;
}

size_t edge_bundle_num_labels(const edge_bundle* bundle) {
  return bundle != nullptr ? bundle->bundle.manifest.labels.size() : 0;
}

const char* edge_bundle_label(const edge_bundle* bundle, size_t index, size_t* size) {
  if (index >= edge_bundle_num_labels(bundle)) return nullptr;
  const std::string& label = bundle->bundle.manifest.labels[index];
  if (size != nullptr) *size = label.size();
  return label.c_str();
}

void edge_engine_options_init(edge_engine_options* options) {
  if (options != nullptr) *options = {sizeof *options, nullptr, 1, nullptr, 0};
}

edge_status edge_engine_create(const edge_bundle* bundle, const edge_engine_options* options,
                               edge_engine** engine) {
  return guarded([&] {
    const Bundle& opened = require(bundle, "bundle").bundle;
    require(engine, "engine");
    const edge::EngineSpec& spec = opened.manifest.spec;
    *engine = new edge_engine{Engine(opened.graphs(), spec, read_options(options)),
                              {opened.embed_identity(), spec.feature_shape, spec.ways},
                              spec.input_shape,
                              edge::element_count(spec.input_shape),
                              edge::element_count(spec.feature_shape),
                              static_cast<std::size_t>(spec.steps)};
  });
}

void edge_engine_destroy(edge_engine* engine) { delete engine; }

size_t edge_engine_input_size(const edge_engine* engine) {
  return engine != nullptr ? engine->input_size : 0;
}

size_t edge_engine_feature_size(const edge_engine* engine) {
  return engine != nullptr ? engine->feature_size : 0;
}

size_t edge_engine_ways(const edge_engine* engine) {
  return engine != nullptr ? static_cast<std::size_t>(engine->binding.ways) : 0;
}

size_t edge_engine_outputs(const edge_engine* engine) {
  if (engine == nullptr) return 0;
  const edge::EngineSpec& spec = engine->engine.spec();
  return static_cast<std::size_t>(spec.outputs > 0 ? spec.outputs : spec.ways);
}

size_t edge_engine_steps(const edge_engine* engine) {
  return engine != nullptr ? engine->steps : 0;
}

const char* edge_engine_runtime_version(const edge_engine* engine) {
  return engine != nullptr ? engine->engine.runtime_version().c_str() : nullptr;
}

edge_status edge_embed(const edge_engine* engine, const float* x, size_t x_count, float* features,
                       size_t features_count) {
  return guarded([&] {
    const edge_engine& e = require(engine, "engine");
    const edge::FloatView inputs = rows(x, x_count, e.input_shape, e.input_size, "x");
    check_output(features, features_count, x_count / e.input_size * e.feature_size, "features");
    const edge::Tensor result = e.engine.embed(inputs);
    std::memcpy(features, result.data.get(), features_count * sizeof(float));
  });
}

edge_status edge_predict(const edge_engine* engine, const edge_state* state, const float* features,
                         size_t features_count, float* predictions, size_t predictions_count) {
  return guarded([&] {
    predict(engine, state, {features, features_count}, {predictions, predictions_count},
            std::nullopt);
  });
}

edge_status edge_predict_variance(const edge_engine* engine, const edge_state* state,
                                  const float* features, size_t features_count, float* predictions,
                                  size_t predictions_count, float* variance,
                                  size_t variance_count) {
  return guarded([&] {
    predict(engine, state, {features, features_count}, {predictions, predictions_count},
            Output{variance, variance_count});
  });
}
