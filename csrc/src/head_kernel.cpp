// Lays a head and its examples out for the inner loop, and picks the processor's widest one.
#include "edge/head_kernel.h"

#include <algorithm>
#include <cstring>

#include "checks.h"
#include "edge/tensor.h"
#include "head_dispatch.h"
#include "head_steps.h"

namespace edge {
namespace {

using head_steps::kPad;
using head_steps::Work;
using Step = float (*)(const Work&);

float portable_step(const Work& work) { return head_steps::take_step<4>(work); }

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) float avx2_step(const Work& work) {
  return head_steps::take_step<8>(work);
}
#endif

Step widest_step() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) return avx2_step;
#endif
  return portable_step;
}

std::size_t padded(std::size_t count) { return (count + kPad - 1) / kPad * kPad; }

// Cuts one zeroed buffer into aligned arrays; counts first, hands out second.
class Scratch {
 public:
  float* take(std::size_t count) {
    float* const taken = buffer_ ? buffer_.get() + used_ : nullptr;
    constexpr std::size_t aligned = kAlignment / sizeof(float);
    used_ += (count + aligned - 1) / aligned * aligned;
    return taken;
  }

  void allocate() {
    buffer_ = make_buffer(used_);
    std::memset(buffer_.get(), 0, used_ * sizeof(float));
    used_ = 0;
  }

 private:
  FloatBuffer buffer_;
  std::size_t used_ = 0;
};

// The examples of weight > 0, their total weight, and the slots in the order of the rows of `Work`.
struct Plan {
  std::vector<std::size_t> examples;
  std::vector<std::size_t> slots;   // those in use first
  std::vector<std::size_t> row_of;  // of each slot
  std::size_t used = 0;
  double total = 0;
};

float weight_of(const HeadSupport& support, std::size_t example) {
  return support.weights == nullptr ? 1.0F : support.weights[example];
}

Plan make_plan(const Head& head, const HeadSupport& support) {
  Plan plan;
  plan.examples.reserve(support.n);
  std::vector<float> seen(head.ways, 0.0F);
  for (std::size_t i = 0; i < support.n; ++i) {
    const float weight = weight_of(support, i);
    if (weight <= 0) continue;
    plan.examples.push_back(i);
    plan.total += static_cast<double>(weight);
    seen[static_cast<std::size_t>(support.labels[i])] += weight;
  }
  plan.row_of.resize(head.ways);
  plan.slots.reserve(head.ways);
  for (const bool in_use : {true, false}) {
    for (std::size_t slot = 0; slot < head.ways; ++slot) {
      if (in_use) head.counts[slot] = std::max(head.counts[slot], seen[slot]);
      if ((head.counts[slot] > 0) != in_use) continue;
      plan.row_of[slot] = plan.slots.size();
      plan.slots.push_back(slot);
    }
    if (in_use) plan.used = plan.slots.size();
  }
  return plan;
}

Work lay_out(const Head& head, const Plan& plan, const SoftmaxSgd& kernel, Scratch& scratch) {
  Work work;
  work.used = plan.used;
  work.rows = head.weight_velocity != nullptr ? head.ways : plan.used;
  work.n = plan.examples.size();
  work.padded_n = padded(work.n);
  work.dim = head.dim;
  work.padded_dim = padded(head.dim);
  const double scale = kernel.rate_per_slot ? static_cast<double>(plan.used) : 1.0;
  work.rate = static_cast<float>(kernel.rate * scale);
  work.momentum = static_cast<float>(kernel.momentum);
  work.weight = scratch.take(work.rows * work.padded_dim);
  work.bias = scratch.take(work.rows);
  if (head.weight_velocity != nullptr) {
    work.velocity = scratch.take(work.rows * work.padded_dim);
    work.bias_velocity = scratch.take(work.rows);
  }
  work.by_feature = scratch.take(work.padded_dim * work.n);
  work.by_example = scratch.take(work.padded_n * work.dim);
  work.hot = scratch.take(work.used * work.padded_n);
  work.share = scratch.take(work.padded_n);
  work.gap = scratch.take(work.used * work.padded_n);
  work.gradient = scratch.take(work.used * work.padded_dim);
  work.sums = scratch.take(2 * work.padded_n);
  return work;
}

// The arrays of `work` that only the inner loop's reader sees as constant.
float* writable(const float* array) { return const_cast<float*>(array); }

void fill_examples(const Work& work, const HeadSupport& support, const Plan& plan) {
  for (std::size_t i = 0; i < work.n; ++i) {
    const std::size_t example = plan.examples[i];
    const float* const from = support.features + (example * work.dim);
    float* const by_feature = writable(work.by_feature) + (i * kPad);
    for (std::size_t d = 0; d < work.dim; d += kPad) {
      std::memcpy(by_feature + (d * work.n), from + d,
                  std::min(kPad, work.dim - d) * sizeof(float));
    }
    float* const by_example = writable(work.by_example) + (i / kPad * work.dim * kPad) + (i % kPad);
    for (std::size_t d = 0; d < work.dim; ++d) by_example[d * kPad] = from[d];
    const std::size_t row = plan.row_of[static_cast<std::size_t>(support.labels[example])];
    writable(work.hot)[(row * work.padded_n) + i] = 1.0F;
    writable(work.share)[i] =
        static_cast<float>(static_cast<double>(weight_of(support, example)) / plan.total);
  }
}

void load_rows(const Work& work, const Head& head, const Plan& plan) {
  for (std::size_t row = 0; row < work.rows; ++row) {
    const std::size_t slot = plan.slots[row];
    const std::size_t size_bytes = head.dim * sizeof(float);
    std::memcpy(work.weight + (row * work.padded_dim), head.weight + (slot * head.dim), size_bytes);
    work.bias[row] = head.bias[slot];
    if (work.velocity == nullptr) continue;
    std::memcpy(work.velocity + (row * work.padded_dim), head.weight_velocity + (slot * head.dim),
                size_bytes);
    work.bias_velocity[row] = head.bias_velocity[slot];
  }
}

void store_rows(const Work& work, const Head& head, const Plan& plan) {
  for (std::size_t row = 0; row < work.rows; ++row) {
    const std::size_t slot = plan.slots[row];
    const std::size_t size_bytes = head.dim * sizeof(float);
    std::memcpy(head.weight + (slot * head.dim), work.weight + (row * work.padded_dim), size_bytes);
    head.bias[slot] = work.bias[row];
    if (work.velocity == nullptr) continue;
    std::memcpy(head.weight_velocity + (slot * head.dim), work.velocity + (row * work.padded_dim),
                size_bytes);
    head.bias_velocity[slot] = work.bias_velocity[row];
  }
}

}  // namespace

std::vector<float> adapt_softmax_head(const Head& head, const HeadSupport& support,
                                      const SoftmaxSgd& kernel, std::int64_t steps) {
  return adapt_softmax_head(head, support, kernel, steps, HeadLoop::kWidest);
}

std::vector<float> adapt_softmax_head(const Head& head, const HeadSupport& support,
                                      const SoftmaxSgd& kernel, std::int64_t steps, HeadLoop loop) {
  static const Step widest = widest_step();
  const Step take_step = loop == HeadLoop::kWidest ? widest : portable_step;
  const Plan plan = make_plan(head, support);
  Scratch scratch;
  lay_out(head, plan, kernel, scratch);  // counts
  scratch.allocate();
  const Work work = lay_out(head, plan, kernel, scratch);
  fill_examples(work, support, plan);
  load_rows(work, head, plan);
  std::vector<float> losses;
  losses.reserve(static_cast<std::size_t>(steps));
  for (std::int64_t step = 1; step <= steps; ++step) {
    losses.push_back(take_step(work));
    check_loss(losses.back(), step);
  }
  store_rows(work, head, plan);
  return losses;
}

}  // namespace edge
