// Cholesky's factor by rows of its upper half: every inner loop runs along memory.
#include "cholesky.h"

#include <cmath>

namespace edge {
namespace {

#define EDGE_INLINE inline __attribute__((always_inline))

EDGE_INLINE void add_scaled_here(double* c, const double* x, double scale, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) c[i] += scale * x[i];
}

EDGE_INLINE double dot_here(const double* x, const double* y, std::size_t count) {
  constexpr std::size_t lanes = 8;
  double sums[lanes] = {};
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) sums[lane] += x[i + lane] * y[i + lane];
  }
  double rest = 0;
  for (; i < count; ++i) rest += x[i] * y[i];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) +
         rest;
}

// A = U^T U, then U^T y = b forwards and U x = y backwards.
EDGE_INLINE bool solve_here(double* a, std::size_t size, double* b, std::size_t count) {
  for (std::size_t k = 0; k < size; ++k) {
    double* const row = a + (k * size);
    if (!(row[k] > 0) || !std::isfinite(row[k])) return false;
    const double scale = 1 / std::sqrt(row[k]);
    for (std::size_t j = k; j < size; ++j) row[j] *= scale;
    for (std::size_t i = k + 1; i < size; ++i) {
      add_scaled_here(a + (i * size) + i, row + i, -row[i], size - i);
    }
  }
  for (std::size_t which = 0; which < count; ++which) {
    double* const x = b + (which * size);
    for (std::size_t k = 0; k < size; ++k) {
      x[k] /= a[(k * size) + k];
      add_scaled_here(x + k + 1, a + (k * size) + k + 1, -x[k], size - k - 1);
    }
    for (std::size_t k = size; k-- > 0;) {
      const double known = dot_here(a + (k * size) + k + 1, x + k + 1, size - k - 1);
      x[k] = (x[k] - known) / a[(k * size) + k];
    }
  }
  return true;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) bool solve_avx2(double* a, std::size_t size, double* b,
                                                    std::size_t count) {
  return solve_here(a, size, b, count);
}
__attribute__((target("avx2,fma"))) void add_scaled_avx2(double* c, const double* x, double scale,
                                                         std::size_t count) {
  add_scaled_here(c, x, scale, count);
}
__attribute__((target("avx2,fma"))) double dot_avx2(const double* x, const double* y,
                                                    std::size_t count) {
  return dot_here(x, y, count);
}

bool has_avx2() {
  static const bool has = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  return has;
}
#endif

}  // namespace

bool solve_positive_definite(double* a, std::size_t size, double* b, std::size_t count) {
#if defined(__x86_64__)
  if (has_avx2()) return solve_avx2(a, size, b, count);
#endif
  return solve_here(a, size, b, count);
}

void add_scaled(double* c, const double* x, double scale, std::size_t count) {
#if defined(__x86_64__)
  if (has_avx2()) return add_scaled_avx2(c, x, scale, count);
#endif
  add_scaled_here(c, x, scale, count);
}

double dot(const double* x, const double* y, std::size_t count) {
#if defined(__x86_64__)
  if (has_avx2()) return dot_avx2(x, y, count);
#endif
  return dot_here(x, y, count);
}

}  // namespace edge
