// Takes examples into a ridge head's sums, and solves for its weights.
#include "edge/ridge_kernel.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "cholesky.h"
#include "edge/error.h"

namespace edge {
namespace {

constexpr double kSmall = 1e-6;  // added to squared lengths, as the exported graphs do

// The examples of weight > 0, in double precision.
struct Rows {
  std::vector<double> values;  // [n, dim]
  std::vector<double> weights;
  std::vector<std::size_t> slots;

  std::size_t n() const noexcept { return weights.size(); }
};

Rows read_rows(const RidgeHead& head, const HeadSupport& support, const RidgeSolve& kernel) {
  Rows rows;
  for (std::size_t i = 0; i < support.n; ++i) {
    const double weight =
        support.weights == nullptr ? 1.0 : static_cast<double>(support.weights[i]);
    if (weight <= 0) continue;
    rows.weights.push_back(weight);
    rows.slots.push_back(static_cast<std::size_t>(support.labels[i]));
    const float* const from = support.features + (i * head.dim);
    rows.values.insert(rows.values.end(), from, from + head.dim);
    if (!kernel.unit_rows) continue;
    double* const row = rows.values.data() + rows.values.size() - head.dim;
    const double length = std::sqrt(dot(row, row, head.dim) + kSmall);
    for (std::size_t d = 0; d < head.dim; ++d) row[d] /= length;
  }
  return rows;
}

// Adds the rows to the sums; gives the new gram and moments unrounded.
void take_in(const RidgeHead& head, const Rows& rows, std::vector<double>& gram,
             std::vector<double>& moments) {
  const std::size_t dim = head.dim;
  gram.assign(head.gram, head.gram + (dim * dim));
  moments.assign(head.moments, head.moments + (head.ways * dim));
  for (std::size_t i = 0; i < rows.n(); ++i) {
    const double* const row = rows.values.data() + (i * dim);
    const double weight = rows.weights[i];
    for (std::size_t d = 0; d < dim; ++d) {
      add_scaled(gram.data() + (d * dim) + d, row + d, weight * row[d], dim - d);
    }
    add_scaled(moments.data() + (rows.slots[i] * dim), row, weight, dim);
    head.counts[rows.slots[i]] += static_cast<float>(weight);
  }
  for (std::size_t d = 0; d < dim; ++d) {
    for (std::size_t e = d; e < dim; ++e) {
      const auto value = static_cast<float>(gram[(d * dim) + e]);
      head.gram[(d * dim) + e] = head.gram[(e * dim) + d] = value;
    }
  }
  std::transform(moments.begin(), moments.end(), head.moments,
                 [](double value) { return static_cast<float>(value); });
}

void require(bool solved) {
  if (!solved) {
    throw Error(ErrorCode::kDiverged,
                "the ridge system is not positive definite; the state is unchanged");
  }
}

// weight = moments (gram + ridge I)^-1
std::vector<double> solve_by_features(std::size_t dim, std::vector<double>& gram,
                                      std::vector<double>& moments, double ridge) {
  for (std::size_t d = 0; d < dim; ++d) gram[(d * dim) + d] += ridge;
  require(solve_positive_definite(gram.data(), dim, moments.data(), moments.size() / dim));
  return std::move(moments);
}

// With S = diag(weights): weight = onehot^T S^1/2 (S^1/2 u u^T S^1/2 + ridge I)^-1 S^1/2 u.
std::vector<double> solve_by_examples(const RidgeHead& head, const Rows& rows, double ridge) {
  const std::size_t n = rows.n();
  const std::size_t dim = head.dim;
  std::vector<double> matrix(n * n);
  std::vector<double> targets(head.ways * n, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    const double root = std::sqrt(rows.weights[i]);
    targets[(rows.slots[i] * n) + i] = root;
    for (std::size_t j = i; j < n; ++j) {
      const double* const row = rows.values.data();
      matrix[(i * n) + j] =
          root * std::sqrt(rows.weights[j]) * dot(row + (i * dim), row + (j * dim), dim);
    }
    matrix[(i * n) + i] += ridge;
  }
  require(solve_positive_definite(matrix.data(), n, targets.data(), head.ways));
  std::vector<double> weight(head.ways * dim, 0.0);
  for (std::size_t slot = 0; slot < head.ways; ++slot) {
    for (std::size_t i = 0; i < n; ++i) {
      const double share = targets[(slot * n) + i] * std::sqrt(rows.weights[i]);
      if (share != 0) {
        add_scaled(weight.data() + (slot * dim), rows.values.data() + (i * dim), share, dim);
      }
    }
  }
  return weight;
}

bool all_zero(const float* values, std::size_t count) {
  return std::all_of(values, values + count, [](float value) { return value == 0; });
}

float loss_of(const RidgeHead& head, const Rows& rows, const std::vector<double>& weight,
              double scale) {
  double loss = 0;
  double total = 0;
  std::vector<double> logits;
  for (std::size_t i = 0; i < rows.n(); ++i) {
    logits.clear();
    double at_label = 0;
    for (std::size_t slot = 0; slot < head.ways; ++slot) {
      if (!(head.counts[slot] > 0)) continue;
      const double* const row = rows.values.data() + (i * head.dim);
      logits.push_back(scale * dot(weight.data() + (slot * head.dim), row, head.dim));
      if (slot == rows.slots[i]) at_label = logits.back();
    }
    const double largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - largest);
    loss += rows.weights[i] * (std::log(sum) + largest - at_label);
    total += rows.weights[i];
  }
  return static_cast<float>(loss / total);
}

}  // namespace

float adapt_ridge_head(const RidgeHead& head, const HeadSupport& support,
                       const RidgeSolve& kernel) {
  const Rows rows = read_rows(head, support, kernel);
  // moments that did not come from these examples need the whole system
  const bool is_first =
      all_zero(head.gram, head.dim * head.dim) && all_zero(head.moments, head.ways * head.dim);
  std::vector<double> gram;
  std::vector<double> moments;
  take_in(head, rows, gram, moments);
  double total = 0;
  for (std::size_t slot = 0; slot < head.ways; ++slot) {
    total += static_cast<double>(head.counts[slot]);
  }
  const double ridge = kernel.ridge + (kernel.ridge_per_weight * total);
  const std::vector<double> weight = is_first && rows.n() < head.dim
                                         ? solve_by_examples(head, rows, ridge)
                                         : solve_by_features(head.dim, gram, moments, ridge);
  std::transform(weight.begin(), weight.end(), head.weight,
                 [](double value) { return static_cast<float>(value); });
  return loss_of(head, rows, weight, kernel.scale);
}

}  // namespace edge
