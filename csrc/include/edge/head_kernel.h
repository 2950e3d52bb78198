// Native adaptation of a softmax head on cached features: what adapt.onnx computes, in one call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace edge {

/// Softmax regression by gradient descent, as a bundle declares it (docs/BUNDLE_FORMAT.md).
struct SoftmaxSgd {
  std::string weight;          ///< state tensor `[ways, dim]`
  std::string bias;            ///< state tensor `[ways]`
  double rate = 0;             ///< step size, > 0
  double momentum = 0;         ///< in [0, 1); above 0 the state holds a velocity for each tensor
  bool rate_per_slot = false;  ///< the step size is `rate` times the number of slots in use
};

/// The tensors of one head, row-major; adapting changes them in place.
struct Head {
  std::size_t ways = 0;
  std::size_t dim = 0;
  float* weight = nullptr;           ///< `[ways, dim]`
  float* bias = nullptr;             ///< `[ways]`
  float* counts = nullptr;           ///< `[ways]`; a slot is in use iff it is above 0
  float* weight_velocity = nullptr;  ///< `[ways, dim]`; null without momentum
  float* bias_velocity = nullptr;    ///< `[ways]`; null without momentum
};

/// One support set, already checked; borrowed for the call.
struct HeadSupport {
  std::size_t n = 0;
  const float* features = nullptr;       ///< `[n, dim]`, finite
  const std::int64_t* labels = nullptr;  ///< `[n]`, each in 0..ways-1
  const float* weights = nullptr;        ///< `[n]`, finite, >= 0, not all zero; null: all one
};

/// Takes `steps` steps down the weighted mean cross-entropy over the slots in use:
///
///     counts   = max(counts, weighted examples of each slot)
///     velocity = momentum * velocity + gradient     (the gradient itself without momentum)
///     tensor   = tensor - rate * velocity
///
/// Always the same bits on one machine: each sum runs in one order, whatever the vector width, and
/// processors differ only in whether they fuse a multiplication with an addition.
/// @return the loss in nats before each step, `[steps]`
/// @throws Error  kDiverged if a loss is not finite; the head is then of no use
std::vector<float> adapt_softmax_head(const Head& head, const HeadSupport& support,
                                      const SoftmaxSgd& kernel, std::int64_t steps);

}  // namespace edge
