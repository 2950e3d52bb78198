// Which of the inner loops runs; the tests run each.
#pragma once

#include <cstdint>
#include <vector>

#include "edge/head_kernel.h"

namespace edge {

enum class HeadLoop : std::uint8_t {
  kPortable,  ///< what the compiler's target has anyway: SSE2, NEON
  kWidest,    ///< AVX2 with FMA where the processor has it
};

/// The public `adapt_softmax_head` with `loop` chosen.
std::vector<float> adapt_softmax_head(const Head& head, const HeadSupport& support,
                                      const SoftmaxSgd& kernel, std::int64_t steps, HeadLoop loop);

}  // namespace edge
