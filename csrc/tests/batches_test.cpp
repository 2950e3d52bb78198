// Cutting examples into batches of a fixed size.
#include "batches.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "test.h"

namespace edge::test {
namespace {

// Rows of two numbers become rows of three: (a, b) -> (a, b, a + b). Counts its calls.
struct Doubler {
  std::int64_t batch;
  int calls = 0;
  int zero_rows = 0;

  void operator()(const float* in, float* out) {
    ++calls;
    for (std::int64_t i = 0; i < batch; ++i) {
      const float a = in[2 * i];
      const float b = in[2 * i + 1];
      if (a == 0 && b == 0) ++zero_rows;
      out[3 * i] = a;
      out[3 * i + 1] = b;
      out[3 * i + 2] = a + b;
    }
  }
};

std::vector<float> numbers(std::int64_t n) {
  std::vector<float> x;
  for (std::int64_t i = 0; i < 2 * n; ++i) x.push_back(static_cast<float>(i + 1));
  return x;
}

TEST(every_row_comes_out_in_its_place_whatever_the_batch) {
  for (std::int64_t n = 1; n <= 17; ++n) {
    const std::vector<float> x = numbers(n);
    for (const std::int64_t batch : {1, 2, 3, 8, 17, 40}) {
      Tensor y{{n, 3}, make_buffer(static_cast<std::size_t>(3 * n))};
      std::fill_n(y.data.get(), 3 * n, -1.0F);
      Doubler run{batch};
      run_in_batches({x.data(), {n, 2}}, y, batch, std::ref(run));
      CHECK(run.calls == (n + batch - 1) / batch);
      CHECK(run.zero_rows == run.calls * batch - n);
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        CHECK(y.data[3 * i] == x[2 * i]);
        CHECK(y.data[3 * i + 1] == x[2 * i + 1]);
        CHECK(y.data[3 * i + 2] == x[2 * i] + x[2 * i + 1]);
      }
    }
  }
}

TEST(whole_batches_are_not_copied) {
  const std::vector<float> x = numbers(6);
  Tensor y{{6, 3}, make_buffer(18)};
  std::vector<std::pair<std::ptrdiff_t, std::ptrdiff_t>> places;
  run_in_batches({x.data(), {6, 2}}, y, 3, [&](const float* in, float* out) {
    places.emplace_back(in - x.data(), out - y.data.get());
    std::fill_n(out, 9, 0.0F);
  });
  CHECK(places.size() == 2);
  CHECK(places[0] == std::make_pair(std::ptrdiff_t{0}, std::ptrdiff_t{0}));
  CHECK(places[1] == std::make_pair(std::ptrdiff_t{6}, std::ptrdiff_t{9}));
}

}  // namespace
}  // namespace edge::test
