// The head kernel: the steps a double-precision reference takes, whatever the sizes.
#include "edge/head_kernel.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "head_dispatch.h"
#include "test.h"

namespace edge::test {
namespace {

// A head and a support set that own their arrays.
struct Problem {
  std::size_t n, dim, ways;
  std::vector<float> features, weights, weight, bias, counts, weight_velocity, bias_velocity;
  std::vector<std::int64_t> labels;

  // Some slots are never taught, some examples have weight 0, one slot is in use from before.
  Problem(std::size_t num_examples, std::size_t num_features, std::size_t num_ways)
      : n(num_examples), dim(num_features), ways(num_ways) {
    std::mt19937 random(static_cast<unsigned>((n * 7919) + (dim * 131) + ways));
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& array, std::size_t count, float scale) {
      for (std::size_t i = 0; i < count; ++i) array.push_back(scale * normal(random));
    };
    fill(features, n * dim, 1.0F / std::sqrt(static_cast<float>(dim)));
    fill(weight, ways * dim, 0.5F);
    fill(bias, ways, 0.1F);
    fill(weight_velocity, ways * dim, 0.01F);
    fill(bias_velocity, ways, 0.01F);
    counts.assign(ways, 0.0F);
    counts[ways - 1] = 2;
    for (std::size_t i = 0; i < n; ++i) {
      labels.push_back(static_cast<std::int64_t>((i * 5) % ((ways + 1) / 2)));
      weights.push_back(i % 4 == 3 ? 0.0F : 0.25F * static_cast<float>(1 + (i % 3)));
    }
  }

  Head head(bool momentum) {
    return {ways,
            dim,
            weight.data(),
            bias.data(),
            counts.data(),
            momentum ? weight_velocity.data() : nullptr,
            momentum ? bias_velocity.data() : nullptr};
  }
  HeadSupport support(bool weighted) const {
    return {n, features.data(), labels.data(), weighted ? weights.data() : nullptr};
  }
};

struct Reference {
  std::vector<double> weight, bias, counts, weight_velocity, bias_velocity, losses;
};

std::vector<double> as_double(const std::vector<float>& from) { return {from.begin(), from.end()}; }

// What the header promises, row by row.
Reference run(const Problem& p, const SoftmaxSgd& kernel, bool weighted, int steps) {
  Reference r{as_double(p.weight),          as_double(p.bias),          as_double(p.counts),
              as_double(p.weight_velocity), as_double(p.bias_velocity), {}};
  std::vector<double> share(p.n, 1.0);
  std::vector<double> seen(p.ways, 0.0);
  double total = 0;
  for (std::size_t i = 0; i < p.n; ++i) {
    if (weighted) share[i] = static_cast<double>(p.weights[i]);
    total += share[i];
    seen[static_cast<std::size_t>(p.labels[i])] += share[i];
  }
  double used = 0;
  for (std::size_t slot = 0; slot < p.ways; ++slot) {
    r.counts[slot] = std::max(r.counts[slot], seen[slot]);
    used += r.counts[slot] > 0 ? 1 : 0;
  }
  const double rate = kernel.rate * (kernel.rate_per_slot ? used : 1.0);
  for (int step = 0; step < steps; ++step) {
    std::vector<double> d_weight(p.ways * p.dim, 0.0);
    std::vector<double> d_bias(p.ways, 0.0);
    double loss = 0;
    for (std::size_t i = 0; i < p.n; ++i) {
      std::vector<double> p_slot(p.ways, 0.0);
      double sum = 0;
      for (std::size_t slot = 0; slot < p.ways; ++slot) {
        if (r.counts[slot] <= 0) continue;
        double logit = r.bias[slot];
        for (std::size_t d = 0; d < p.dim; ++d) {
          logit += r.weight[(slot * p.dim) + d] * static_cast<double>(p.features[(i * p.dim) + d]);
        }
        p_slot[slot] = std::exp(logit);
        sum += p_slot[slot];
      }
      const double part = share[i] / total;
      for (std::size_t slot = 0; slot < p.ways; ++slot) {
        const bool hot = static_cast<std::int64_t>(slot) == p.labels[i];
        if (hot && part > 0) loss -= part * std::log(p_slot[slot] / sum);
        if (r.counts[slot] <= 0) continue;
        const double gap = part * ((p_slot[slot] / sum) - (hot ? 1.0 : 0.0));
        d_bias[slot] += gap;
        for (std::size_t d = 0; d < p.dim; ++d) {
          d_weight[(slot * p.dim) + d] += gap * static_cast<double>(p.features[(i * p.dim) + d]);
        }
      }
    }
    r.losses.push_back(loss);
    const auto descend = [&](std::vector<double>& tensor, std::vector<double>& velocity,
                             const std::vector<double>& gradient) {
      for (std::size_t i = 0; i < tensor.size(); ++i) {
        velocity[i] = (kernel.momentum * velocity[i]) + gradient[i];
        tensor[i] -= rate * velocity[i];
      }
    };
    descend(r.weight, r.weight_velocity, d_weight);
    descend(r.bias, r.bias_velocity, d_bias);
  }
  return r;
}

// float32 carries 6e-8 and a few steps carry it on; the numbers are of order 1.
bool near(const std::vector<float>& got, const std::vector<double>& want) {
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (!(std::abs(static_cast<double>(got[i]) - want[i]) <= 2e-6)) return false;
  }
  return got.size() == want.size();
}

SoftmaxSgd options(double momentum, bool rate_per_slot) {
  SoftmaxSgd kernel;
  kernel.rate = 0.4;
  kernel.momentum = momentum;
  kernel.rate_per_slot = rate_per_slot;
  return kernel;
}

void check_against_reference(HeadLoop loop) {
  for (const std::size_t n : {1U, 2U, 7U, 8U, 9U, 25U, 40U}) {
    for (const std::size_t dim : {1U, 3U, 8U, 17U, 64U}) {
      for (const std::size_t ways : {1U, 2U, 5U, 6U, 7U, 13U, 32U}) {
        for (const bool momentum : {false, true}) {
          const bool weighted = (n + dim + ways) % 2 == 0;
          const SoftmaxSgd kernel = options(momentum ? 0.9 : 0.0, !momentum);
          Problem problem(n, dim, ways);
          const Reference want = run(problem, kernel, weighted, 3);
          const std::vector<float> losses = adapt_softmax_head(
              problem.head(momentum), problem.support(weighted), kernel, 3, loop);
          CHECK(near(losses, want.losses));
          CHECK(near(problem.weight, want.weight));
          CHECK(near(problem.bias, want.bias));
          CHECK(near(problem.counts, want.counts));
          if (momentum) CHECK(near(problem.weight_velocity, want.weight_velocity));
          if (momentum) CHECK(near(problem.bias_velocity, want.bias_velocity));
        }
      }
    }
  }
}

TEST(it_takes_the_steps_of_a_reference_at_every_size) {
  check_against_reference(HeadLoop::kWidest);
}

TEST(so_does_the_portable_loop) { check_against_reference(HeadLoop::kPortable); }

TEST(steps_add_up_to_the_bit) {
  const SoftmaxSgd kernel = options(0.5, true);
  Problem at_once(25, 20, 7);
  Problem in_two(25, 20, 7);
  const auto all = adapt_softmax_head(at_once.head(true), at_once.support(true), kernel, 5);
  auto parts = adapt_softmax_head(in_two.head(true), in_two.support(true), kernel, 2);
  const auto rest = adapt_softmax_head(in_two.head(true), in_two.support(true), kernel, 3);
  parts.insert(parts.end(), rest.begin(), rest.end());
  CHECK(parts == all);
  CHECK(in_two.weight == at_once.weight);
  CHECK(in_two.bias == at_once.bias);
  CHECK(in_two.weight_velocity == at_once.weight_velocity);
}

TEST(without_weights_every_example_counts_once) {
  Problem with(9, 5, 4);
  Problem without(9, 5, 4);
  with.weights.assign(9, 1.0F);
  const SoftmaxSgd kernel = options(0, false);
  adapt_softmax_head(with.head(false), with.support(true), kernel, 5);
  adapt_softmax_head(without.head(false), without.support(false), kernel, 5);
  CHECK(with.weight == without.weight);
  CHECK(with.counts == without.counts);
}

TEST(slots_that_are_not_in_use_stay_as_they_are) {
  Problem problem(12, 6, 9);
  const Problem before = problem;
  adapt_softmax_head(problem.head(false), problem.support(false), options(0, true), 5);
  for (std::size_t slot = 5; slot < 8; ++slot) {
    CHECK(problem.counts[slot] == 0);
    CHECK(problem.bias[slot] == before.bias[slot]);
    for (std::size_t d = 0; d < 6; ++d) {
      CHECK(problem.weight[(slot * 6) + d] == before.weight[(slot * 6) + d]);
    }
  }
  CHECK(problem.bias[0] != before.bias[0]);
}

TEST(an_example_of_weight_zero_changes_no_bit) {
  Problem problem(8, 6, 3);
  Problem padded(8, 6, 3);
  problem.weights.assign(8, 1.0F);
  padded.weights.assign(8, 1.0F);
  padded.features.insert(padded.features.end(), 6, 1e30F);
  padded.labels.push_back(1);
  padded.weights.push_back(0.0F);
  padded.n = 9;
  const auto want =
      adapt_softmax_head(problem.head(false), problem.support(true), options(0, true), 4);
  const auto got =
      adapt_softmax_head(padded.head(false), padded.support(true), options(0, true), 4);
  CHECK(got == want);
  CHECK(padded.weight == problem.weight);
}

TEST(logits_far_apart_are_exact) {
  // Probabilities of 1 and of 0: no overflow, and a loss that is the gap between the logits.
  Problem problem(1, 1, 2);
  problem.features = {1.0F};
  problem.weight = {-200.0F, 200.0F};
  problem.bias = {0.0F, 0.0F};
  const auto losses =
      adapt_softmax_head(problem.head(false), problem.support(false), options(0, false), 1);
  CHECK(std::abs(losses[0] - 400.0F) < 1e-3F);
  CHECK(std::abs(problem.weight[0] - (-200.0F + 0.4F)) < 1e-4F);
  CHECK(std::abs(problem.weight[1] - (200.0F - 0.4F)) < 1e-4F);
}

TEST(what_diverges_is_an_error) {
  Problem problem(6, 4, 2);
  for (float& feature : problem.features) feature *= 1e30F;
  SoftmaxSgd kernel = options(0, false);
  kernel.rate = 1e6;
  CHECK_THROWS(kDiverged, "loss is not finite at step",
               adapt_softmax_head(problem.head(false), problem.support(false), kernel, 5));
}

}  // namespace
}  // namespace edge::test
