// Positive definite systems in double precision, with every instruction set's widest vectors.
#pragma once

#include <cstddef>

namespace edge {

/// Solves A x = b for several b.
/// @param a      `[size, size]`, symmetric; its upper half is read, and is the factor afterwards
/// @param b      `[count, size]`, one right-hand side a row; the solutions afterwards
/// @return whether A is positive definite; if not, both arrays are of no use
bool solve_positive_definite(double* a, std::size_t size, double* b, std::size_t count);

/// `c[i] += scale * x[i]` for i in `[0, count)`.
void add_scaled(double* c, const double* x, double scale, std::size_t count);

/// Sum of `x[i] * y[i]`, always in the same order.
double dot(const double* x, const double* y, std::size_t count);

}  // namespace edge
