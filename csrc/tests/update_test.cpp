// The clip: its bound, its bits, its refusals.
#include "edge/update.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "test.h"
#include "update_loops.h"

namespace edge {
namespace {

NamedView view(const std::vector<float>& values) {
  return {"x", {values.data(), {static_cast<std::int64_t>(values.size())}}};
}

TEST(the_norm_is_over_all_tensors_together) {
  const std::vector<float> nines(9, 1.0F);
  const std::vector<float> sixteen(16, 1.0F);
  const std::vector<float> none;
  CHECK(joint_norm({view(nines), view(sixteen), view(none)}) == 5);
  CHECK(joint_norm({}) == 0);
  const float largest = std::numeric_limits<float>::max();
  CHECK(std::isfinite(joint_norm({view({largest, largest})})));
}

TEST(an_update_within_the_bound_keeps_its_bits) {
  const std::vector<float> values = {0.1F, -0.2F, 0.0F, 1e-40F};
  const Clipped clipped = clip_update({view(values)}, 1);
  for (std::size_t i = 0; i < values.size(); ++i) CHECK(clipped.tensors[0].data[i] == values[i]);
}

TEST(a_clipped_update_never_passes_the_bound) {
  for (const std::size_t count : {std::size_t{1}, std::size_t{7}, std::size_t{1001}}) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = std::sin(static_cast<float>(i + 1)) * 1e6F;
    }
    for (const double bound : {1e-30, 0.1, 3.0, 1e4}) {
      const Clipped clipped = clip_update({view(values)}, bound);
      const NamedView again{"x", {clipped.tensors[0].data.get(), clipped.tensors[0].shape}};
      CHECK(clipped.norm > bound);
      CHECK(joint_norm({again}) <= bound);
      CHECK(joint_norm({again}) >= bound * (1 - 1e-6) || bound < 1e-20);
    }
  }
}

TEST(adds_integers_unless_their_norm_is_over_the_bound) {
  const std::vector<float> corner = {3.5F, -4.5F};
  const std::vector<float> rest = {0.25F};
  std::vector<std::int64_t> total = {7, 7, 7};
  CHECK(add_rounded({view(corner), view(rest)}, 1, 25, total.data()));
  CHECK(total[0] == 10 && total[1] == 3 && total[2] == 7);
  CHECK(!add_rounded({view(corner), view(rest)}, 1, 24, total.data()));
  CHECK(!add_rounded({view(corner), view(rest)}, 2, 25, total.data()));
  CHECK(total[0] == 10 && total[1] == 3 && total[2] == 7);
}

TEST(every_width_gives_the_same_bits) {
  for (const std::size_t count : {std::size_t{0}, std::size_t{5}, std::size_t{4099}}) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = std::sin(static_cast<float>(i + 1)) * (i % 7 == 0 ? 1e-38F : 1e3F);
    }
    const UpdateLoops& portable = update_loops(true);
    const UpdateLoops& widest = update_loops(false);
    CHECK(portable.squares(values.data(), count) == widest.squares(values.data(), count));
    const double scale = 1234.5678;
    CHECK(portable.rounded_squares(values.data(), count, scale) ==
          widest.rounded_squares(values.data(), count, scale));
    std::vector<std::int64_t> sum(count, 3);
    std::vector<std::int64_t> wide_sum(count, 3);
    portable.add_rounded(values.data(), count, scale, sum.data());
    widest.add_rounded(values.data(), count, scale, wide_sum.data());
    CHECK(sum == wide_sum);
    std::vector<float> out(count);
    std::vector<float> wide_out(count);
    portable.scale_down(values.data(), count, 0.3, out.data());
    widest.scale_down(values.data(), count, 0.3, wide_out.data());
    CHECK(count == 0 || std::memcmp(out.data(), wide_out.data(), count * sizeof(float)) == 0);
  }
}

TEST(refuses_what_is_not_finite) {
  const std::vector<float> bad = {0.0F, std::nanf("")};
  const std::vector<float> infinite = {INFINITY};
  const std::vector<float> good = {1.0F};
  CHECK_THROWS(kNonFinite, "x holds NaN", clip_update({view(good), view(bad)}, 1));
  CHECK_THROWS(kNonFinite, "x holds NaN", clip_update({view(infinite)}, 1));
  CHECK_THROWS(kInvalidOption, "clipping_norm", clip_update({view(good)}, 0));
  CHECK_THROWS(kInvalidOption, "clipping_norm", clip_update({view(good)}, INFINITY));
}

}  // namespace
}  // namespace edge
