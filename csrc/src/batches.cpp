// Cuts examples into batches of a fixed size.
#include "batches.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace edge {

void run_in_batches(const FloatView& x, Tensor& y, std::int64_t batch, const RunBatch& run) {
  const std::int64_t n = x.shape[0];
  if (n < 1) return;
  const std::size_t in_row = element_count(x.shape) / static_cast<std::size_t>(n);
  const std::size_t out_row = element_count(y.shape) / static_cast<std::size_t>(n);
  const std::int64_t whole = n - n % batch;
  for (std::int64_t row = 0; row < whole; row += batch) {
    const auto at = static_cast<std::size_t>(row);
    run(x.data + at * in_row, y.data.get() + at * out_row);
  }
  const auto rest = static_cast<std::size_t>(n - whole);
  if (rest == 0) return;
  const auto at = static_cast<std::size_t>(whole);
  std::vector<float> in(static_cast<std::size_t>(batch) * in_row, 0.0F);
  std::vector<float> out(static_cast<std::size_t>(batch) * out_row);
  std::copy_n(x.data + at * in_row, rest * in_row, in.begin());
  run(in.data(), out.data());
  std::copy_n(out.begin(), rest * out_row, y.data.get() + at * out_row);
}

}  // namespace edge
