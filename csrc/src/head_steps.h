// The inner loop of the head kernel, for any vector width.
//
// All of it is inlined into one function for each instruction set (head_kernel.cpp), so nothing
// here may be called from anywhere else, take a vector by value or hold a lambda.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace edge::head_steps {

#define EDGE_INLINE inline __attribute__((always_inline))

/// Vectors of floats as GCC and Clang have them; they may alias float arrays.
template <std::size_t lanes>
struct Width;
template <>
struct Width<4> {
  using Floats = float __attribute__((vector_size(16), may_alias));
  using Ints = std::int32_t __attribute__((vector_size(16), may_alias));
};
template <>
struct Width<8> {
  using Floats = float __attribute__((vector_size(32), may_alias));
  using Ints = std::int32_t __attribute__((vector_size(32), may_alias));
};

/// Everything is padded to this many floats, so that one layout serves every width.
inline constexpr std::size_t kPad = 8;

/// Scratch memory of one adaptation. Rows `[0, used)` are the slots in use.
struct Work {
  std::size_t rows = 0;        ///< of `weight` and `bias`: `used`, or all slots with momentum
  std::size_t used = 0;        ///< slots in use
  std::size_t n = 0;           ///< examples
  std::size_t padded_n = 0;    ///< rounded up to kPad
  std::size_t dim = 0;         ///< features of one example
  std::size_t padded_dim = 0;  ///< rounded up to kPad
  float* weight = nullptr;     ///< [rows, padded_dim]
  float* bias = nullptr;       ///< [rows]
  float* velocity = nullptr;   ///< [rows, padded_dim], or null
  float* bias_velocity = nullptr;
  const float* by_feature = nullptr;  ///< features in panels [padded_dim / kPad, n, kPad]
  const float* by_example = nullptr;  ///< transposed, in panels [padded_n / kPad, dim, kPad]
  const float* hot = nullptr;         ///< [used, padded_n], one-hot labels
  const float* share = nullptr;       ///< [padded_n], an example's weight over the total weight
  float* gap = nullptr;               ///< [used, padded_n], logits, then their gradients
  float* gradient = nullptr;          ///< [used, padded_dim]
  float* sums = nullptr;              ///< [2, padded_n], softmax sums and offsets for the loss
  float rate = 0;
  float momentum = 0;
};

/// `num_rows` rows of `c = a * b` for `num_vectors` neighbouring vectors of b's panel.
template <typename Floats, std::size_t num_rows, std::size_t num_vectors>
EDGE_INLINE void multiply_tile(const float* a, std::size_t a_stride, const float* panel,
                               std::size_t panel_stride, std::size_t depth, float* c,
                               std::size_t c_stride) {
  constexpr std::size_t lanes = sizeof(Floats) / sizeof(float);
  Floats sum[num_rows][num_vectors] = {};
  for (std::size_t k = 0; k < depth; ++k) {
    for (std::size_t v = 0; v < num_vectors; ++v) {
      const Floats b = *reinterpret_cast<const Floats*>(
          panel + (k * kPad) + (v % (kPad / lanes)) * lanes + (v / (kPad / lanes)) * panel_stride);
      for (std::size_t r = 0; r < num_rows; ++r) sum[r][v] += a[(r * a_stride) + k] * b;
    }
  }
  for (std::size_t r = 0; r < num_rows; ++r) {
    for (std::size_t v = 0; v < num_vectors; ++v) {
      *reinterpret_cast<Floats*>(c + (r * c_stride) + (v * lanes)) = sum[r][v];
    }
  }
}

/// All rows of one panel pair, at most `kTile` rows at a time.
template <typename Floats, std::size_t num_vectors>
EDGE_INLINE void multiply_panels(const float* a, std::size_t a_stride, std::size_t rows,
                                 const float* panel, std::size_t panel_stride, std::size_t depth,
                                 float* c, std::size_t c_stride) {
  while (rows > 0) {
    std::size_t done = rows < 6 ? rows : 6;
    switch (done) {
      case 1:
        multiply_tile<Floats, 1, num_vectors>(a, a_stride, panel, panel_stride, depth, c, c_stride);
        break;
      case 2:
        multiply_tile<Floats, 2, num_vectors>(a, a_stride, panel, panel_stride, depth, c, c_stride);
        break;
      case 3:
        multiply_tile<Floats, 3, num_vectors>(a, a_stride, panel, panel_stride, depth, c, c_stride);
        break;
      case 4:
        multiply_tile<Floats, 4, num_vectors>(a, a_stride, panel, panel_stride, depth, c, c_stride);
        break;
      case 5:
        multiply_tile<Floats, 5, num_vectors>(a, a_stride, panel, panel_stride, depth, c, c_stride);
        break;
      default:
        multiply_tile<Floats, 6, num_vectors>(a, a_stride, panel, panel_stride, depth, c, c_stride);
        break;
    }
    a += done * a_stride;
    c += done * c_stride;
    rows -= done;
  }
}

/// `c [rows, columns] = a [rows, depth] * b [depth, columns]`, b in panels `[columns / kPad, depth,
/// kPad]`. Each number of c is one sum from k = 0 up.
template <typename Floats>
EDGE_INLINE void multiply(const float* a, std::size_t a_stride, std::size_t rows, const float* b,
                          std::size_t columns, std::size_t depth, float* c) {
  constexpr std::size_t per_panel = kPad / (sizeof(Floats) / sizeof(float));
  const std::size_t stride = depth * kPad;
  std::size_t column = 0;
  for (; column + (2 * kPad) <= columns; column += 2 * kPad) {
    multiply_panels<Floats, 2 * per_panel>(a, a_stride, rows, b + (column * depth), stride, depth,
                                           c + column, columns);
  }
  if (column < columns) {
    multiply_panels<Floats, per_panel>(a, a_stride, rows, b + (column * depth), stride, depth,
                                       c + column, columns);
  }
}

/// exp(x) in place for x <= 0, to an ulp or two; below -87 it is exp(-87), which is as good as 0
/// beside the 1 of the largest logit. Range reduction by powers of 2 and the polynomial of
/// Moshier's Cephes library (expf).
template <typename Floats, typename Ints>
EDGE_INLINE void exp_in_place(Floats& x) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const Floats lowest = Floats{} - 87.0F;
  x = x < lowest ? lowest : x;
  const Floats shifted = (x * 1.44269504088896341F) + kRound;
  const Floats power = shifted - kRound;
  const Floats r = (x - (power * 0.693359375F)) - (power * -2.12194440e-4F);
  Floats p = (r * 1.9875691500e-4F) + 1.3981999507e-3F;
  p = (p * r) + 8.3334519073e-3F;
  p = (p * r) + 4.1665795894e-2F;
  p = (p * r) + 1.6666665459e-1F;
  p = (p * r) + 5.0000001201e-1F;
  p = (p * r * r) + r + 1.0F;
  Ints bits;
  Ints exponent;
  std::memcpy(&bits, &p, sizeof bits);
  std::memcpy(&exponent, &shifted, sizeof exponent);  // the integer is in the low bits
  bits += exponent << 23;
  std::memcpy(&x, &bits, sizeof x);
}

/// Logits in `gap` -> their gradients; softmax sums and what else the loss needs into `sums`.
template <typename Floats, typename Ints>
EDGE_INLINE void softmax_gap(const Work& work) {
  constexpr std::size_t lanes = sizeof(Floats) / sizeof(float);
  for (std::size_t i = 0; i < work.padded_n; i += lanes) {
    Floats largest = *reinterpret_cast<Floats*>(work.gap + i) + work.bias[0];
    Floats at_label = {};
    for (std::size_t row = 0; row < work.used; ++row) {
      Floats& logit = *reinterpret_cast<Floats*>(work.gap + (row * work.padded_n) + i);
      logit += work.bias[row];
      largest = logit > largest ? logit : largest;
      at_label += logit * *reinterpret_cast<const Floats*>(work.hot + (row * work.padded_n) + i);
    }
    Floats total = {};
    for (std::size_t row = 0; row < work.used; ++row) {
      Floats& logit = *reinterpret_cast<Floats*>(work.gap + (row * work.padded_n) + i);
      logit -= largest;
      exp_in_place<Floats, Ints>(logit);
      total += logit;
    }
    *reinterpret_cast<Floats*>(work.sums + i) = total;
    *reinterpret_cast<Floats*>(work.sums + work.padded_n + i) = largest - at_label;
    const Floats share = *reinterpret_cast<const Floats*>(work.share + i);
    for (std::size_t row = 0; row < work.used; ++row) {
      const std::size_t at = (row * work.padded_n) + i;
      Floats& gap = *reinterpret_cast<Floats*>(work.gap + at);
      gap = ((gap / total) - *reinterpret_cast<const Floats*>(work.hot + at)) * share;
    }
  }
}

/// Weighted mean cross-entropy from what `softmax_gap` left in `sums`.
EDGE_INLINE float loss_of(const Work& work) {
  double loss = 0;
  for (std::size_t i = 0; i < work.n; ++i) {
    const float nats = std::log(work.sums[i]) + work.sums[work.padded_n + i];
    loss += static_cast<double>(work.share[i]) * static_cast<double>(nats);
  }
  return static_cast<float>(loss);
}

template <typename Floats>
EDGE_INLINE void descend(const Work& work) {
  constexpr std::size_t lanes = sizeof(Floats) / sizeof(float);
  const Floats none = {};
  for (std::size_t row = 0; row < work.rows; ++row) {
    const bool used = row < work.used;
    float bias_step = 0;
    for (std::size_t i = 0; used && i < work.n; ++i)
      bias_step += work.gap[(row * work.padded_n) + i];
    if (work.velocity != nullptr) {
      bias_step += work.momentum * work.bias_velocity[row];
      work.bias_velocity[row] = bias_step;
    }
    work.bias[row] -= work.rate * bias_step;
    const std::size_t start = row * work.padded_dim;
    for (std::size_t d = start; d < start + work.padded_dim; d += lanes) {
      Floats step = used ? *reinterpret_cast<const Floats*>(work.gradient + d) : none;
      if (work.velocity != nullptr) {
        Floats& velocity = *reinterpret_cast<Floats*>(work.velocity + d);
        step += work.momentum * velocity;
        velocity = step;
      }
      *reinterpret_cast<Floats*>(work.weight + d) -= work.rate * step;
    }
  }
}

/// One step; gives the loss before it.
template <std::size_t lanes>
EDGE_INLINE float take_step(const Work& work) {
  using Floats = typename Width<lanes>::Floats;
  using Ints = typename Width<lanes>::Ints;
  multiply<Floats>(work.weight, work.padded_dim, work.used, work.by_example, work.padded_n,
                   work.dim, work.gap);
  softmax_gap<Floats, Ints>(work);
  const float loss = loss_of(work);
  multiply<Floats>(work.gap, work.padded_n, work.used, work.by_feature, work.padded_dim, work.n,
                   work.gradient);
  descend<Floats>(work);
  return loss;
}

}  // namespace edge::head_steps
