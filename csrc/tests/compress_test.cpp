// Rounding without bias, a rotation that keeps lengths and comes back, and the largest entries.
#include "edge/compress.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "test.h"

namespace edge {
namespace {

RandomSeed seed_of(std::size_t value) {
  RandomSeed seed{};
  seed[0] = static_cast<std::uint8_t>(value);
  seed[1] = static_cast<std::uint8_t>(value >> 8U);
  return seed;
}

double norm(const std::vector<float>& values) {
  double total = 0;
  for (const float value : values) total += double{value} * value;
  return std::sqrt(total);
}

struct Rounded {
  std::vector<std::int32_t> steps;
  std::vector<float> residual;
};

Rounded round(const std::vector<float>& values, const Grid& grid, std::size_t seed) {
  Rounded result{std::vector<std::int32_t>(values.size()), std::vector<float>(values.size())};
  round_to_grid(values.data(), values.size(), grid, seed_of(seed), result.steps.data(),
                result.residual.data());
  return result;
}

TEST(rounds_to_a_neighbour_without_bias) {
  const std::vector<float> values(100'000, 0.3F);
  const Rounded rounded = round(values, {1.0, 127}, 1);
  double ups = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    CHECK(rounded.steps[i] == 0 || rounded.steps[i] == 1);
    CHECK(std::fabs(rounded.residual[i] - (0.3F - static_cast<float>(rounded.steps[i]))) < 1e-6F);
    ups += rounded.steps[i];
  }
  // Five standard deviations of a mean of as many Bernoulli draws.
  CHECK(std::fabs((ups / static_cast<double>(values.size())) - 0.3) < 5 * 0.4583 / 316.2);
}

TEST(leaves_multiples_of_the_step_and_cuts_off_at_the_limit) {
  const std::vector<float> values = {-3, -2, -1, -0.5F, 0, 0.5F, 1, 2, 3, 1e30F, -1e30F};
  for (std::size_t seed = 0; seed < 20; ++seed) {
    const Rounded rounded = round(values, {0.5, 4}, seed);
    CHECK(rounded.steps == (std::vector<std::int32_t>{-4, -4, -2, -1, 0, 1, 2, 4, 4, 4, -4}));
    CHECK(rounded.residual[0] == -1);
    CHECK(rounded.residual[8] == 1);
  }
  const std::int32_t most = std::numeric_limits<std::int32_t>::max();
  CHECK(round({1e30F, -1e30F}, {1.0, most}, 0).steps == (std::vector<std::int32_t>{most, -most}));
}

TEST(refuses_what_is_no_grid_and_no_number) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS(kInvalidOption, "grid", round({1}, {0, 1}, 0));
  CHECK_THROWS(kInvalidOption, "grid", round({1}, {std::nan(""), 1}, 0));
  CHECK_THROWS(kInvalidOption, "grid", round({1}, {1, 0}, 0));
  CHECK_THROWS(kNonFinite, "values", round({1, nan}, {1, 1}, 0));
}

TEST(a_rotation_keeps_the_norm_and_comes_back) {
  for (const std::size_t count : {1U, 2U, 3U, 7U, 64U, 1000U, 4097U}) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = std::sin(static_cast<float>((i * i) + 1));
    const std::vector<float> before = values;
    rotate(values.data(), count, seed_of(count));
    CHECK(std::fabs(norm(values) - norm(before)) < 1e-4 * norm(before));
    rotate_back(values.data(), count, seed_of(count));
    for (std::size_t i = 0; i < count; ++i) CHECK(std::fabs(values[i] - before[i]) < 1e-5F);
  }
  rotate(nullptr, 0, seed_of(0));
  rotate_back(nullptr, 0, seed_of(0));
}

TEST(a_rotation_makes_entries_of_one_size) {
  constexpr std::size_t count = 25'000;
  for (const std::size_t at : {std::size_t{0}, std::size_t{9000}, std::size_t{24'999}}) {
    std::vector<float> values(count);
    values[at] = 1;
    rotate(values.data(), count, seed_of(at));
    const float largest =
        std::fabs(*std::max_element(values.begin(), values.end(),
                                    [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
    CHECK(largest < 0.05F);  // 6 / sqrt(16384)
  }
}

TEST(rotations_of_one_seed_can_be_added) {
  std::vector<float> a = {1, 2, 3, 4, 5};
  std::vector<float> b = {-1, 0, 4, 0.5F, 2};
  std::vector<float> sum(5);
  for (std::size_t i = 0; i < 5; ++i) sum[i] = a[i] + b[i];
  rotate(a.data(), 5, seed_of(3));
  rotate(b.data(), 5, seed_of(3));
  for (std::size_t i = 0; i < 5; ++i) a[i] += b[i];
  rotate_back(a.data(), 5, seed_of(3));
  for (std::size_t i = 0; i < 5; ++i) CHECK(std::fabs(a[i] - sum[i]) < 1e-5F);
}

TEST(finds_the_largest_entries) {
  const std::vector<float> values = {1, -5, 3, 3, 0, -3, 2};
  using Places = std::vector<std::int64_t>;
  CHECK(largest_entries(values.data(), 7, 1) == (Places{1}));
  CHECK(largest_entries(values.data(), 7, 3) == (Places{1, 2, 3}));
  CHECK(largest_entries(values.data(), 7, 7) == (Places{0, 1, 2, 3, 4, 5, 6}));
  CHECK_THROWS(kInvalidOption, "1..7", largest_entries(values.data(), 7, 0));
  CHECK_THROWS(kInvalidOption, "1..7", largest_entries(values.data(), 7, 8));
}

}  // namespace
}  // namespace edge
