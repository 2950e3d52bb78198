// C++17 over edge_sdk.h: handles that give themselves back, and statuses as exceptions.
//
// Header only, so the library's binary interface stays the C one. Threads: as edge_sdk.h says.
#ifndef EDGE_SDK_HPP
#define EDGE_SDK_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "edge_sdk.h"

namespace edge_sdk {

/// A call failed; nothing was changed by it.
class Error : public std::runtime_error {
 public:
  explicit Error(edge_status status) : std::runtime_error(edge_last_error()), status_(status) {}

  edge_status status() const noexcept { return status_; }

 private:
  edge_status status_;
};

namespace detail {

inline void check(edge_status status) {
  if (status != EDGE_OK) throw Error(status);
}

template <auto Release>
struct Releaser {
  template <typename T>
  void operator()(T* handle) const noexcept {
    Release(handle);
  }
};

template <typename T, auto Release>
using Handle = std::unique_ptr<T, Releaser<Release>>;

/// Takes over bytes that the library made.
inline std::vector<std::uint8_t> take_bytes(std::uint8_t* bytes, std::size_t size) {
  const Handle<std::uint8_t, edge_bytes_free> owner(bytes);
  return {bytes, bytes + size};
}

}  // namespace detail

/// A verified bundle folder, whole in memory.
class Bundle {
 public:
  /// @throws Error  EDGE_BAD_BUNDLE
  explicit Bundle(const std::string& path) {
    edge_bundle* made = nullptr;
    detail::check(edge_bundle_open(path.c_str(), &made));
    handle_.reset(made);
  }

  /// One whose signature is checked first; `trust` as edge_bundle_open_trusted says.
  /// @throws Error  EDGE_BAD_SIGNATURE, EDGE_EXPIRED_BUNDLE, EDGE_OLDER_BUNDLE, EDGE_BAD_BUNDLE,
  ///                EDGE_INVALID_OPTION
  Bundle(const std::string& path, const edge_trust& trust) {
    edge_bundle* made = nullptr;
    detail::check(edge_bundle_open_trusted(path.c_str(), &trust, &made));
    handle_.reset(made);
  }

  std::string name() const { return edge_bundle_name(get()); }
  std::string digest() const { return edge_bundle_digest(get()); }
  std::int64_t version() const { return edge_bundle_version(get()); }

  /// What the first slots mean, where the bundle fixes it.
  std::vector<std::string> labels() const {
    std::vector<std::string> labels;
    for (std::size_t i = 0; i < edge_bundle_num_labels(get()); ++i) {
      std::size_t size = 0;
      const char* text = edge_bundle_label(get(), i, &size);
      labels.emplace_back(text, size);
    }
    return labels;
  }

  const edge_bundle* get() const noexcept { return handle_.get(); }

 private:
  detail::Handle<edge_bundle, edge_bundle_close> handle_;
};

class Engine;

/// What was learned; never changes. An empty one comes from moving.
class State {
 public:
  std::vector<std::uint8_t> save() const {
    std::uint8_t* bytes = nullptr;
    std::size_t size = 0;
    detail::check(edge_state_save(get(), &bytes, &size));
    return detail::take_bytes(bytes, size);
  }

  /// A copy of one tensor, for example "counts", `[ways]`.
  std::vector<float> tensor(const std::string& name) const {
    const float* values = nullptr;
    std::size_t count = 0;
    detail::check(edge_state_tensor(get(), name.c_str(), &values, &count));
    return {values, values + count};
  }

  const edge_state* get() const noexcept { return handle_.get(); }

 private:
  friend class Engine;
  explicit State(edge_state* handle) : handle_(handle) {}

  detail::Handle<edge_state, edge_state_release> handle_;
};

/// The state that answers, while another thread adapts and replaces it: every call of every member
/// may come from any thread. A reader holds one whole version for as long as it wants.
class LiveState {
 public:
  struct Version {
    std::int64_t number;  ///< 0 for the first, then 1, 2, ...
    State state;
  };
  using Ptr = std::shared_ptr<const Version>;

  explicit LiveState(State first)
      : current_(std::make_shared<const Version>(Version{0, std::move(first)})) {}

  /// What answers now; never null. Waits for nothing longer than the copy of a pointer.
  Ptr get() const {
    const std::lock_guard<std::mutex> hold(mutex_);
    return current_;
  }

  /// Makes `state` what answers, unless that is no longer `seen`, which `state` was made to follow.
  /// @return the new version; null where it was refused, and nothing changed
  Ptr replace(const Ptr& seen, State state) {
    auto next = std::make_shared<const Version>(Version{seen->number + 1, std::move(state)});
    Ptr before;  // let go of outside the lock: it may be the last reference
    const std::lock_guard<std::mutex> hold(mutex_);
    if (current_ != seen) return nullptr;
    before = std::exchange(current_, next);
    return next;
  }

 private:
  mutable std::mutex mutex_;  // held while a pointer is copied, never during any computation
  Ptr current_;
};

/// Features and slots of one user, in the order taught.
class Examples {
 public:
  /// @param features  `[n, feature_size]`
  /// @param slots     `[n]`
  void add(const std::vector<float>& features, const std::vector<std::int64_t>& slots) {
    detail::check(
        edge_examples_add(get(), features.data(), features.size(), slots.data(), slots.size()));
  }

  /// Forgets a slot; returns how many examples it had.
  std::size_t remove_slot(std::int64_t slot) {
    std::size_t removed = 0;
    detail::check(edge_examples_remove_slot(get(), slot, &removed));
    return removed;
  }

  std::size_t size() const noexcept { return edge_examples_count(get()); }

  std::vector<std::uint8_t> save() const {
    std::uint8_t* bytes = nullptr;
    std::size_t size = 0;
    detail::check(edge_examples_save(get(), &bytes, &size));
    return detail::take_bytes(bytes, size);
  }

  edge_examples* get() noexcept { return handle_.get(); }
  const edge_examples* get() const noexcept { return handle_.get(); }

 private:
  friend class Engine;
  explicit Examples(edge_examples* handle) : handle_(handle) {}

  detail::Handle<edge_examples, edge_examples_release> handle_;
};

/// A bundle's graphs, loaded; const methods may be called from any number of threads.
class Engine {
 public:
  /// @param runtime_library  path of libonnxruntime; empty: found as edge_engine_options says
  explicit Engine(const Bundle& bundle, const std::string& runtime_library = "", int threads = 1) {
    edge_engine_options options;
    edge_engine_options_init(&options);
    if (!runtime_library.empty()) options.runtime_library = runtime_library.c_str();
    options.threads = threads;
    edge_engine* made = nullptr;
    detail::check(edge_engine_create(bundle.get(), &options, &made));
    handle_.reset(made);
  }

  std::size_t input_size() const noexcept { return edge_engine_input_size(get()); }
  std::size_t feature_size() const noexcept { return edge_engine_feature_size(get()); }
  std::size_t ways() const noexcept { return edge_engine_ways(get()); }
  std::string runtime_version() const { return edge_engine_runtime_version(get()); }

  /// Features `[n, feature_size]` of inputs `[n, input_size]`.
  std::vector<float> embed(const std::vector<float>& x) const {
    std::vector<float> features(x.size() / input_size() * feature_size());
    detail::check(edge_embed(get(), x.data(), x.size(), features.data(), features.size()));
    return features;
  }

  /// Logits `[n, ways]` of features `[n, feature_size]`.
  std::vector<float> predict(const State& state, const std::vector<float>& features) const {
    std::vector<float> logits(features.size() / feature_size() * ways());
    detail::check(edge_predict(get(), state.get(), features.data(), features.size(), logits.data(),
                               logits.size()));
    return logits;
  }

  State initial_state() const {
    edge_state* made = nullptr;
    detail::check(edge_initial_state(get(), &made));
    return State(made);
  }

  Examples make_examples() const {
    edge_examples* made = nullptr;
    detail::check(edge_examples_create(get(), &made));
    return Examples(made);
  }

  /// The state of these examples, from the bundle's starting point.
  State adapt(const Examples& examples) const {
    edge_state* made = nullptr;
    detail::check(edge_adapt_examples(get(), examples.get(), nullptr, &made));
    return State(made);
  }

  State load_state(const std::vector<std::uint8_t>& bytes) const {
    edge_state* made = nullptr;
    detail::check(edge_state_load(get(), bytes.data(), bytes.size(), &made));
    return State(made);
  }

  Examples load_examples(const std::vector<std::uint8_t>& bytes) const {
    edge_examples* made = nullptr;
    detail::check(edge_examples_load(get(), bytes.data(), bytes.size(), &made));
    return Examples(made);
  }

  const edge_engine* get() const noexcept { return handle_.get(); }

 private:
  detail::Handle<edge_engine, edge_engine_destroy> handle_;
};

}  // namespace edge_sdk

#endif  // EDGE_SDK_HPP
