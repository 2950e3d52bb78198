// edge_sdk.h: states, adapting, and examples.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "capi/boundary.h"
#include "capi/handles.h"
#include "checks.h"
#include "edge/error.h"

using edge::ErrorCode;
using edge::FloatView;
using edge::LabelView;
using edge::capi::copy_bytes;
using edge::capi::guarded;
using edge::capi::require;
using edge::capi::row;
using edge::capi::rows;

namespace {

std::string_view as_text(const uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(&require(bytes, "bytes")), size};
}

// How many losses adapting gives: one for each call of adapt.onnx.
std::size_t count_losses(const edge_engine& engine, std::int64_t n,
                         const std::optional<FloatView>& weights,
                         std::optional<std::int64_t> steps) {
  if (engine.engine.spec().loop == edge::InnerLoop::kSequential) {
    if (!weights) return static_cast<std::size_t>(n);
    const float* const end = weights->data + weights->shape[0];
    return static_cast<std::size_t>(
        std::count_if(weights->data, end, [](float weight) { return weight != 0; }));
  }
  return steps ? static_cast<std::size_t>(*steps) : engine.steps;
}

// Memory comes first, so that nothing fails once there is a state. `answers`: slots or targets.
template <typename T>
std::unique_ptr<edge_state> adapt(const edge_engine& engine, const FloatView& features,
                                  const edge::View<T>& answers, const edge_adapt_options* given) {
  edge_adapt_options options;
  edge_adapt_options_init(&options);
  if (given != nullptr) {
    if (given->struct_size != sizeof options) {
      throw edge::Error(ErrorCode::kInvalidOption,
                        "fill edge_adapt_options with edge_adapt_options_init first");
    }
    options = *given;
  }
  std::optional<FloatView> weights;
  if (options.weights != nullptr || options.num_weights > 0) {
    weights = row(&require(options.weights, "weights"), options.num_weights, "weights");
  }
  std::optional<std::int64_t> steps;
  if (options.steps != 0) steps = options.steps;
  if (options.losses != nullptr || options.num_losses > 0) {
    const std::size_t wanted = count_losses(engine, features.shape[0], weights, steps);
    edge::capi::check_output(options.losses, options.num_losses, wanted, "losses");
  }
  auto handle = std::make_unique<edge_state>();
  edge::Adaptation result =
      engine.engine.adapt(features, answers, weights, steps,
                          options.start != nullptr ? options.start->state.get() : nullptr);
  if (options.losses != nullptr) {
    std::copy(result.losses.begin(), result.losses.end(), options.losses);
  }
  handle->state = std::move(result.state);
  return handle;
}

void save(const std::string& content, uint8_t** bytes, std::size_t* size) {
  *bytes = copy_bytes(content);
  *size = content.size();
}

}  // namespace

edge_status edge_initial_state(const edge_engine* engine, edge_state** state) {
  return guarded([&] {
    const edge_engine& e = require(engine, "engine");
    require(state, "state");
    *state = std::make_unique<edge_state>(edge_state{e.engine.initial_state()}).release();
  });
}

void edge_state_release(edge_state* state) { delete state; }

void edge_adapt_options_init(edge_adapt_options* options) {
  if (options != nullptr) *options = {sizeof *options, nullptr, 0, 0, nullptr, nullptr, 0};
}

edge_status edge_adapt(const edge_engine* engine, const float* features, size_t features_count,
                       const int64_t* slots, size_t num_slots, const edge_adapt_options* options,
                       edge_state** state) {
  return guarded([&] {
    const edge_engine& e = require(engine, "engine");
    require(state, "state");
    const FloatView examples =
        rows(features, features_count, e.binding.feature_shape, e.feature_size, "features");
    *state = adapt(e, examples, row(slots, num_slots, "slots"), options).release();
  });
}

edge_status edge_adapt_values(const edge_engine* engine, const float* features,
                              size_t features_count, const float* targets, size_t targets_count,
                              const edge_adapt_options* options, edge_state** state) {
  return guarded([&] {
    const edge_engine& e = require(engine, "engine");
    require(state, "state");
    edge::check_teaches(e.engine.spec(), edge::Task::kRegression);
    const FloatView examples =
        rows(features, features_count, e.binding.feature_shape, e.feature_size, "features");
    const std::int64_t outputs = e.engine.spec().outputs;
    const FloatView values =
        rows(targets, targets_count, {outputs}, static_cast<std::size_t>(outputs), "targets");
    *state = adapt(e, examples, values, options).release();
  });
}

edge_status edge_state_tensor(const edge_state* state, const char* name, const float** values,
                              size_t* count) {
  return guarded([&] {
    const edge::State& learned = *require(state, "state").state;
    require(values, "values");
    require(count, "count");
    const auto found = learned.layout()->find(&require(name, "name"));
    if (!found) {
      throw edge::Error(ErrorCode::kInvalidOption, "the state has no tensor of this name");
    }
    *values = learned.data(*found);
    *count = learned.layout()->count(*found);
  });
}

edge_status edge_state_save(const edge_state* state, uint8_t** bytes, size_t* size) {
  return guarded([&] {
    const edge::State& learned = *require(state, "state").state;
    require(bytes, "bytes");
    require(size, "size");
    save(learned.to_bytes(), bytes, size);
  });
}

edge_status edge_state_load(const edge_engine* engine, const uint8_t* bytes, size_t size,
                            edge_state** state) {
  return guarded([&] {
    const edge_engine& e = require(engine, "engine");
    require(state, "state");
    edge::StatePtr read = edge::State::from_bytes(as_text(bytes, size));
    if (read->non_finite()) {
      throw edge::Error(ErrorCode::kBadState, "state bytes hold NaN or infinity");
    }
    edge::check_state(*read, e.engine.initial_state()->layout());
    *state = std::make_unique<edge_state>(edge_state{std::move(read)}).release();
  });
}

edge_status edge_examples_create(const edge_engine* engine, edge_examples** examples) {
  return guarded([&] {
    const edge_engine& e = require(engine, "engine");
    require(examples, "examples");
    *examples =
        std::make_unique<edge_examples>(edge_examples{edge::ExampleSet(e.binding)}).release();
  });
}

void edge_examples_release(edge_examples* examples) { delete examples; }

edge_status edge_examples_add(edge_examples* examples, const float* features, size_t features_count,
                              const int64_t* slots, size_t num_slots) {
  return guarded([&] {
    edge::ExampleSet& set = require(examples, "examples").set;
    const edge::Shape& shape = set.binding().feature_shape;
    set.add(rows(features, features_count, shape, edge::element_count(shape), "features"),
            row(slots, num_slots, "slots"));
  });
}

edge_status edge_examples_remove_slot(edge_examples* examples, int64_t slot, size_t* removed) {
  return guarded([&] {
    edge::ExampleSet& set = require(examples, "examples").set;
    if (slot < 0 || slot >= set.binding().ways) {
      throw edge::Error(ErrorCode::kLabelRange,
                        "slot is outside 0.." + std::to_string(set.binding().ways - 1));
    }
    const std::size_t count = set.remove_slot(slot);
    if (removed != nullptr) *removed = count;
  });
}

size_t edge_examples_count(const edge_examples* examples) {
  return examples != nullptr ? examples->set.size() : 0;
}

const float* edge_examples_features(const edge_examples* examples) {
  return examples != nullptr ? examples->set.feature_data() : nullptr;
}

const int64_t* edge_examples_slots(const edge_examples* examples) {
  return examples != nullptr ? examples->set.slot_data() : nullptr;
}

edge_status edge_adapt_examples(const edge_engine* engine, const edge_examples* examples,
                                const edge_adapt_options* options, edge_state** state) {
  return guarded([&] {
    const edge_engine& e = require(engine, "engine");
    const edge::ExampleSet& set = require(examples, "examples").set;
    require(state, "state");
    if (set.binding().embed_identity != e.binding.embed_identity) {
      throw edge::Error(ErrorCode::kBadState,
                        "these examples were made with another embed.onnx; use the bundle they "
                        "were taught with, or teach again");
    }
    *state = adapt(e, set.features(), set.slots(), options).release();
  });
}

edge_status edge_examples_save(const edge_examples* examples, uint8_t** bytes, size_t* size) {
  return guarded([&] {
    const edge::ExampleSet& set = require(examples, "examples").set;
    require(bytes, "bytes");
    require(size, "size");
    save(set.to_bytes(), bytes, size);
  });
}

edge_status edge_examples_load(const edge_engine* engine, const uint8_t* bytes, size_t size,
                               edge_examples** examples) {
  return guarded([&] {
    const edge_engine& e = require(engine, "engine");
    require(examples, "examples");
    *examples = std::make_unique<edge_examples>(
                    edge_examples{edge::ExampleSet::from_bytes(as_text(bytes, size), e.binding)})
                    .release();
  });
}
