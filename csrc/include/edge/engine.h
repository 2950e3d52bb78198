// Engine: a bundle's four graphs, loaded and checked. Teaches and predicts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "edge/accelerator.h"
#include "edge/head_kernel.h"
#include "edge/ridge_kernel.h"
#include "edge/state.h"
#include "edge/tensor.h"

namespace edge {

/// Bytes of a bundle's graphs; borrowed while the engine is made.
struct Graphs {
  std::string_view init;
  std::optional<std::string_view> embed;  ///< absent: the features are the input itself
  std::string_view adapt;
  std::string_view predict;
};

/// How often adapt.onnx is called on a support set.
enum class InnerLoop {
  kGradient,    ///< `steps` times, each time on all of it
  kClosedForm,  ///< once, on all of it
  kSequential,  ///< once for each example whose weight is not 0, in the order given
};

/// The loop of this name in a manifest: "gradient", "closed_form" or "sequential".
/// @throws Error  kBadBundle for another name
InnerLoop inner_loop_of(const std::string& name);

/// What may compute what adapt.onnx does.
using Kernel = std::variant<SoftmaxSgd, RidgeSolve>;

/// What the bundle's manifest says of its graphs.
struct EngineSpec {
  std::vector<TensorSpec> state;
  std::int64_t ways = 0;   ///< label slots
  Shape input_shape;       ///< of one example
  Shape feature_shape;     ///< of one example
  std::int64_t steps = 1;  ///< default of `adapt`; 1 unless the loop is kGradient
  InnerLoop loop = InnerLoop::kGradient;
  std::int64_t outputs = 0;  ///< of a regression, the numbers of one target; 0: classification
  bool variance = false;     ///< whether predict.onnx gives a variance, too
  /// Computes what adapt.onnx does, which is then not loaded; absent: adapt.onnx runs.
  std::optional<Kernel> kernel = std::nullopt;
};

/// How the host runs the graphs.
struct RuntimeOptions {
  std::string library;  ///< path of libonnxruntime, as dlopen takes it
  std::vector<std::string> providers = {"cpu"};
  int threads = 1;                         ///< of one call, 1 to 256
  std::optional<Accelerator> accelerator;  ///< of the embed graph; absent: the CPU
};

struct Adaptation {
  StatePtr state;
  std::vector<float> losses;  ///< one for each call of adapt.onnx; nats where labels are taught
};

/// Immutable: every method may be called from any number of threads at once.
class Engine {
 public:
  static constexpr std::int64_t kMaxSteps = 10'000;
  static constexpr int kMaxThreads = 256;

  /// Loads and checks all graphs, and runs init.
  /// @throws Error  kInvalidOption, kRuntimeLibrary; kBadBundle naming the graph that does not fit
  ///                the spec; kRuntimeFailed if the runtime refuses a graph; kProvider if the
  ///                accelerator does
  Engine(const Graphs& graphs, EngineSpec spec, const RuntimeOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  Engine(Engine&&) = delete;
  Engine& operator=(Engine&&) = delete;

  /// The meta-learned starting point.
  StatePtr initial_state() const;

  /// @param x  `[n, *input_shape]`, finite, n >= 1
  /// @return features, `[n, *feature_shape]`; a copy of x where the bundle has no embed graph
  /// @throws Error  kShapeMismatch, kNonFinite, kRuntimeFailed
  Tensor embed(const FloatView& x) const;

  /// Runs the inner loop on one support set, or throws and changes nothing.
  /// @param features  `[n, *feature_shape]`, finite, n >= 1
  /// @param labels    `[n]`, each in 0..ways-1
  /// @param weights   `[n]`, finite, >= 0, not all zero; absent: all one
  /// @param steps     1 to kMaxSteps, and 1 unless the bundle takes gradient steps; absent: the
  ///                  bundle's
  /// @param start     absent: the initial state
  /// @throws Error  kShapeMismatch, kNonFinite, kEmptySupport, kLabelRange, kInvalidOption,
  ///                kBadState, kDiverged, kRuntimeFailed
  Adaptation adapt(const FloatView& features, const LabelView& labels,
                   const std::optional<FloatView>& weights = std::nullopt,
                   std::optional<std::int64_t> steps = std::nullopt,
                   const State* start = nullptr) const;

  /// The same for a regression.
  /// @param targets  `[n, outputs]`, finite
  /// @throws Error  as above, but kLabelRange
  Adaptation adapt(const FloatView& features, const FloatView& targets,
                   const std::optional<FloatView>& weights = std::nullopt,
                   std::optional<std::int64_t> steps = std::nullopt,
                   const State* start = nullptr) const;

  /// @param features  `[n, *feature_shape]`, finite, n >= 1
  /// @param variance  not null: where to put the variance, of the result's shape
  /// @return logits, `[n, ways]`; of a regression the mean, `[n, outputs]`
  /// @throws Error  kShapeMismatch, kNonFinite, kBadState, kRuntimeFailed; kInvalidOption if a
  ///                variance is wanted of a bundle that gives none
  Tensor predict(const FloatView& features, const State& state, Tensor* variance = nullptr) const;

  /// What the bundle says of its graphs.
  const EngineSpec& spec() const noexcept;

  /// Which provider runs how many nodes of the embed graph; empty where the CPU runs it all.
  std::vector<NodeGroup> embed_nodes() const;

  /// The n that the embed graph is fixed to: batches are cut and padded to it. 0: any n.
  std::int64_t embed_batch() const noexcept;

  /// Of the loaded library, for example "1.31.1".
  const std::string& runtime_version() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace edge
