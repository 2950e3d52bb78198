// The ridge kernel: what a reference by Gaussian elimination finds, whatever the sizes.
#include "edge/ridge_kernel.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "test.h"

namespace edge::test {
namespace {

struct Problem {
  std::size_t n, dim, ways;
  std::vector<float> features, weights, weight, gram, moments, counts;
  std::vector<std::int64_t> labels;

  // Some slots are never taught, some examples have weight 0; where `taught`, a slot is known from
  // before.
  Problem(std::size_t num_examples, std::size_t num_features, std::size_t num_ways, bool taught)
      : n(num_examples),
        dim(num_features),
        ways(num_ways),
        weight(ways * dim, 7.0F),
        gram(dim * dim, 0.0F),
        moments(ways * dim, 0.0F),
        counts(ways, 0.0F) {
    std::mt19937 random(static_cast<unsigned>((n * 7919) + (dim * 131) + ways));
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < n * dim; ++i) features.push_back(normal(random));
    for (std::size_t i = 0; i < n; ++i) {
      labels.push_back(static_cast<std::int64_t>((i * 5) % ((ways + 1) / 2)));
      weights.push_back(i % 4 == 3 ? 0.0F : 0.25F * static_cast<float>(1 + (i % 3)));
    }
    if (!taught) return;
    for (std::size_t d = 0; d < dim; ++d) {
      gram[(d * dim) + d] = 2;
      moments[((ways - 1) * dim) + d] = 0.5F;
    }
    counts[ways - 1] = 2;
  }

  RidgeHead head() {
    return {ways, dim, weight.data(), gram.data(), moments.data(), counts.data()};
  }
  HeadSupport support(bool weighted) const {
    return {n, features.data(), labels.data(), weighted ? weights.data() : nullptr};
  }
};

struct Reference {
  std::vector<double> weight, gram, moments, counts;
  double loss = 0;
};

// Rows of `b` become solutions of `a x = b`, by elimination with pivots.
void eliminate(std::vector<double> a, std::size_t size, std::vector<double>& b) {
  const std::size_t count = b.size() / size;
  for (std::size_t k = 0; k < size; ++k) {
    std::size_t pivot = k;
    for (std::size_t i = k; i < size; ++i) {
      if (std::abs(a[(i * size) + k]) > std::abs(a[(pivot * size) + k])) pivot = i;
    }
    for (std::size_t j = 0; j < size; ++j) std::swap(a[(k * size) + j], a[(pivot * size) + j]);
    for (std::size_t r = 0; r < count; ++r) std::swap(b[(r * size) + k], b[(r * size) + pivot]);
    for (std::size_t i = 0; i < size; ++i) {
      if (i == k) continue;
      const double factor = a[(i * size) + k] / a[(k * size) + k];
      for (std::size_t j = k; j < size; ++j) a[(i * size) + j] -= factor * a[(k * size) + j];
      for (std::size_t r = 0; r < count; ++r) b[(r * size) + i] -= factor * b[(r * size) + k];
    }
  }
  for (std::size_t r = 0; r < count; ++r) {
    for (std::size_t k = 0; k < size; ++k) b[(r * size) + k] /= a[(k * size) + k];
  }
}

Reference run(const Problem& p, const RidgeSolve& kernel, bool weighted) {
  Reference r{{},
              {p.gram.begin(), p.gram.end()},
              {p.moments.begin(), p.moments.end()},
              {p.counts.begin(), p.counts.end()},
              0};
  std::vector<double> u(p.features.begin(), p.features.end());
  for (std::size_t i = 0; i < p.n; ++i) {
    double square = 1e-6;
    for (std::size_t d = 0; d < p.dim; ++d) square += u[(i * p.dim) + d] * u[(i * p.dim) + d];
    for (std::size_t d = 0; kernel.unit_rows && d < p.dim; ++d) {
      u[(i * p.dim) + d] /= std::sqrt(square);
    }
    const double weight = weighted ? static_cast<double>(p.weights[i]) : 1;
    const auto slot = static_cast<std::size_t>(p.labels[i]);
    r.counts[slot] += weight;
    for (std::size_t d = 0; d < p.dim; ++d) {
      r.moments[(slot * p.dim) + d] += weight * u[(i * p.dim) + d];
      for (std::size_t e = 0; e < p.dim; ++e) {
        r.gram[(d * p.dim) + e] += weight * u[(i * p.dim) + d] * u[(i * p.dim) + e];
      }
    }
  }
  double ridge = kernel.ridge;
  for (const double count : r.counts) ridge += kernel.ridge_per_weight * count;
  std::vector<double> system = r.gram;
  for (std::size_t d = 0; d < p.dim; ++d) system[(d * p.dim) + d] += ridge;
  r.weight = r.moments;
  eliminate(system, p.dim, r.weight);
  double total = 0;
  for (std::size_t i = 0; i < p.n; ++i) {
    double sum = 0;
    double at_label = 0;
    for (std::size_t slot = 0; slot < p.ways; ++slot) {
      double logit = 0;
      for (std::size_t d = 0; d < p.dim; ++d) {
        logit += kernel.scale * u[(i * p.dim) + d] * r.weight[(slot * p.dim) + d];
      }
      if (r.counts[slot] > 0) sum += std::exp(logit);
      if (static_cast<std::int64_t>(slot) == p.labels[i]) at_label = logit;
    }
    const double weight = weighted ? static_cast<double>(p.weights[i]) : 1;
    if (weight > 0) r.loss += weight * (std::log(sum) - at_label);
    total += weight;
  }
  r.loss /= total;
  return r;
}

bool near(const std::vector<float>& got, const std::vector<double>& want) {
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double limit = 1e-6 * std::max(1.0, std::abs(want[i]));
    if (!(std::abs(static_cast<double>(got[i]) - want[i]) <= limit)) return false;
  }
  return got.size() == want.size();
}

RidgeSolve options(bool unit_rows) {
  RidgeSolve kernel;
  kernel.ridge = 0.5;
  kernel.ridge_per_weight = 0.01;
  kernel.scale = 4;
  kernel.unit_rows = unit_rows;
  return kernel;
}

TEST(it_finds_what_a_reference_finds_at_every_size) {
  for (const std::size_t n : {1U, 2U, 7U, 25U, 70U}) {
    for (const std::size_t dim : {1U, 3U, 8U, 24U, 65U}) {
      for (const std::size_t ways : {1U, 2U, 5U, 32U}) {
        for (const bool taught : {false, true}) {
          const bool weighted = (n + dim + ways) % 2 == 0;
          const RidgeSolve kernel = options((n + ways) % 3 != 0);
          Problem problem(n, dim, ways, taught);
          const Reference want = run(problem, kernel, weighted);
          const float loss = adapt_ridge_head(problem.head(), problem.support(weighted), kernel);
          CHECK(std::abs(static_cast<double>(loss) - want.loss) <= 1e-6 * std::max(1.0, want.loss));
          CHECK(near(problem.weight, want.weight));
          CHECK(near(problem.gram, want.gram));
          CHECK(near(problem.moments, want.moments));
          CHECK(near(problem.counts, want.counts));
        }
      }
    }
  }
}

TEST(two_support_sets_are_as_good_as_one) {
  const RidgeSolve kernel = options(true);
  Problem whole(40, 24, 5, false);
  Problem parts(40, 24, 5, false);
  adapt_ridge_head(whole.head(), whole.support(false), kernel);
  HeadSupport half = parts.support(false);
  half.n = 15;  // fewer than the features: the system of the examples is solved
  adapt_ridge_head(parts.head(), half, kernel);
  half.features += 15 * 24;
  half.labels += 15;
  half.n = 25;
  adapt_ridge_head(parts.head(), half, kernel);
  CHECK(near(parts.weight, {whole.weight.begin(), whole.weight.end()}));
}

TEST(an_example_of_weight_zero_changes_no_bit) {
  Problem problem(8, 12, 3, false);
  Problem padded(8, 12, 3, false);
  problem.weights.assign(8, 1.0F);
  padded.weights.assign(8, 1.0F);
  padded.features.insert(padded.features.end(), 12, 1e30F);
  padded.labels.push_back(2);
  padded.weights.push_back(0.0F);
  padded.n = 9;
  const float want = adapt_ridge_head(problem.head(), problem.support(true), options(true));
  CHECK(adapt_ridge_head(padded.head(), padded.support(true), options(true)) == want);
  CHECK(padded.weight == problem.weight);
  CHECK(padded.counts == problem.counts);
}

TEST(gram_stays_symmetric) {
  Problem problem(9, 17, 4, true);
  adapt_ridge_head(problem.head(), problem.support(true), options(false));
  for (std::size_t d = 0; d < 17; ++d) {
    for (std::size_t e = 0; e < 17; ++e) {
      CHECK(problem.gram[(d * 17) + e] == problem.gram[(e * 17) + d]);
    }
  }
}

TEST(a_gram_that_is_no_sum_of_squares_is_an_error) {
  Problem problem(4, 3, 2, true);
  problem.gram[0] = -100;
  CHECK_THROWS(kDiverged, "not positive definite",
               adapt_ridge_head(problem.head(), problem.support(false), options(true)));
}

}  // namespace
}  // namespace edge::test
