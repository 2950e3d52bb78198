// Shape arithmetic and the finite check.
#include "edge/tensor.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include "test.h"

namespace edge {
namespace {

TEST(counts_elements) {
  CHECK(element_count({}) == 1);
  CHECK(element_count({3, 4}) == 12);
  CHECK(element_count({3, 0, 4}) == 0);
}

TEST(refuses_shapes_that_overflow) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  CHECK_THROWS(kShapeMismatch, "more elements", element_count({kHuge, kHuge}));
  CHECK_THROWS(kShapeMismatch, "more elements", element_count({0, kHuge, kHuge}));
  CHECK_THROWS(kShapeMismatch, "more elements",
               element_count({std::numeric_limits<std::int64_t>::max()}));
  CHECK_THROWS(kShapeMismatch, "negative", element_count({3, -1}));
}

TEST(writes_shapes) {
  CHECK(to_text({}) == "[]");
  CHECK(to_text({3, 4}) == "[3, 4]");
}

TEST(finds_a_non_finite_value_anywhere) {
  const float bad[] = {std::nanf(""), -std::nanf(""), INFINITY, -INFINITY};
  for (const std::size_t count : {std::size_t{1}, std::size_t{255}, std::size_t{700}}) {
    std::vector<float> values(count, std::numeric_limits<float>::max());
    values[0] = std::numeric_limits<float>::denorm_min();
    CHECK(all_finite(values.data(), count));
    for (std::size_t i = 0; i < count; ++i) {
      const float before = values[i];
      values[i] = bad[i % 4];
      CHECK(!all_finite(values.data(), count));
      values[i] = before;
    }
  }
  CHECK(all_finite(nullptr, 0));
}

TEST(buffers_are_aligned) {
  const FloatBuffer buffer = make_buffer(3);
  CHECK(reinterpret_cast<std::uintptr_t>(buffer.get()) % kAlignment == 0);
}

}  // namespace
}  // namespace edge
