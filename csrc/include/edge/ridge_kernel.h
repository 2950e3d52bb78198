// Native ridge regression on cached features: what adapt.onnx computes, in one call.
#pragma once

#include <cstddef>
#include <string>

#include "edge/head_kernel.h"

namespace edge {

/// A ridge head in closed form, as a bundle declares it (docs/BUNDLE_FORMAT.md).
struct RidgeSolve {
  std::string weight;           ///< state tensor `[ways, dim]`
  std::string gram;             ///< state tensor `[dim, dim]`
  std::string moments;          ///< state tensor `[ways, dim]`
  double ridge = 0;             ///< > 0
  double ridge_per_weight = 0;  ///< >= 0; times all counts, added to `ridge`
  double scale = 1;             ///< > 0; logits are `scale * features @ weight.T`
  bool unit_rows = false;       ///< features are divided by their length first
};

/// The tensors of one ridge head, row-major; adapting changes them in place.
struct RidgeHead {
  std::size_t ways = 0;
  std::size_t dim = 0;
  float* weight = nullptr;   ///< `[ways, dim]`
  float* gram = nullptr;     ///< `[dim, dim]`, symmetric
  float* moments = nullptr;  ///< `[ways, dim]`
  float* counts = nullptr;   ///< `[ways]`; a slot is in use iff it is above 0
};

/// Takes a support set in and solves (Bertinetto et al., "Meta-learning with Differentiable
/// Closed-form Solvers", ICLR 2019):
///
///     u       = features / sqrt(|features|^2 + 1e-6) with unit rows, else features
///     gram    = gram + u^T diag(weights) u
///     moments = moments + onehot(labels)^T diag(weights) u
///     counts  = counts + weighted examples of each slot
///     weight  = moments (gram + (ridge + ridge_per_weight * sum(counts)) I)^-1
///
/// There is no bias: a feature that is always 1 is one. Sums and the Cholesky factor are in double
/// precision. Where `gram` comes in as zeros and n < dim, the n x n system of Woodbury's identity
/// is solved in place of the dim x dim one. Always the same bits on one machine.
/// @return the support loss of the new state, in nats: weighted mean cross-entropy of the logits
///         over the slots in use
/// @throws Error  kDiverged if the system is not positive definite, which no sum of squares gives
float adapt_ridge_head(const RidgeHead& head, const HeadSupport& support, const RidgeSolve& kernel);

}  // namespace edge
