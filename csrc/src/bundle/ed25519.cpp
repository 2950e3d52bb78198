// Ed25519 as RFC 8032 section 5.1 describes it, with its names: p, L, B, d, R, S, k.
//
// Numbers are eight 32-bit words, the lowest first. A bundle has one signature, so this is written
// to be checked by reading, not to be fast: a verification takes about a millisecond.
#include "bundle/ed25519.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "bundle/sha512.h"

namespace edge {
namespace {

constexpr std::size_t kWords = 8;
using Number = std::array<std::uint32_t, kWords>;

constexpr Number kZero = {};
constexpr Number kOne = {1};
// p = 2^255 - 19, the field's size.
constexpr Number kP = {0xffffffed, 0xffffffff, 0xffffffff, 0xffffffff,
                       0xffffffff, 0xffffffff, 0xffffffff, 0x7fffffff};
// L = 2^252 + 27742317777372353535851937790883648493, the order of B.
constexpr Number kL = {0x5cf5d3ed, 0x5812631a, 0xa2f79cd6, 0x14def9de, 0, 0, 0, 0x10000000};

bool is_less(const Number& a, const Number& b) {
  return std::lexicographical_compare(a.rbegin(), a.rend(), b.rbegin(), b.rend());
}

// a - b where a >= b.
Number difference(const Number& a, const Number& b) {
  Number result{};
  std::uint64_t borrow = 0;
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::uint64_t word = std::uint64_t{a[i]} - b[i] - borrow;
    result[i] = static_cast<std::uint32_t>(word);
    borrow = word >> 63U;
  }
  return result;
}

Number read_number(const std::uint8_t* bytes) {
  Number number{};
  for (std::size_t i = 0; i < 4 * kWords; ++i) {
    number[i / 4] |= std::uint32_t{bytes[i]} << (8 * (i % 4));
  }
  return number;
}

bool bit(const Number& number, std::size_t i) { return ((number[i / 32] >> (i % 32)) & 1U) != 0; }

// --- the field: numbers below p ------------------------------------------------------------------

// `number + high * 2^256` below p. 2^256 = 38, for 2^255 = 19.
Number reduce(Number number, std::uint64_t high) {
  while (high != 0) {
    std::uint64_t carry = high * 38;
    for (std::uint32_t& word : number) {
      carry += word;
      word = static_cast<std::uint32_t>(carry);
      carry >>= 32U;
    }
    high = carry;
  }
  while (!is_less(number, kP)) number = difference(number, kP);
  return number;
}

Number add(const Number& a, const Number& b) {
  Number sum{};
  std::uint64_t carry = 0;
  for (std::size_t i = 0; i < kWords; ++i) {
    carry += std::uint64_t{a[i]} + b[i];
    sum[i] = static_cast<std::uint32_t>(carry);
    carry >>= 32U;
  }
  return reduce(sum, carry);
}

Number subtract(const Number& a, const Number& b) { return add(a, difference(kP, b)); }

Number multiply(const Number& a, const Number& b) {
  std::array<std::uint32_t, 2 * kWords> product{};
  for (std::size_t i = 0; i < kWords; ++i) {
    std::uint64_t carry = 0;
    for (std::size_t j = 0; j < kWords; ++j) {
      carry += std::uint64_t{a[i]} * b[j] + product[i + j];
      product[i + j] = static_cast<std::uint32_t>(carry);
      carry >>= 32U;
    }
    product[i + kWords] = static_cast<std::uint32_t>(carry);
  }
  Number sum{};
  std::uint64_t carry = 0;
  for (std::size_t i = 0; i < kWords; ++i) {
    carry += std::uint64_t{product[i + kWords]} * 38 + product[i];
    sum[i] = static_cast<std::uint32_t>(carry);
    carry >>= 32U;
  }
  return reduce(sum, carry);
}

Number power(const Number& base, const Number& exponent) {
  Number result = kOne;
  for (std::size_t i = 32 * kWords; i-- > 0;) {
    result = multiply(result, result);
    if (bit(exponent, i)) result = multiply(result, base);
  }
  return result;
}

// (p + offset) / 8, where that is whole; offset is above -8.
Number eighth_of_p(int offset) {
  Number number = kP;
  number[0] = static_cast<std::uint32_t>(std::int64_t{number[0]} + offset);  // no carry: ...ed
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::uint32_t above = i + 1 < kWords ? number[i + 1] : 0;
    number[i] = (number[i] >> 3U) | (above << 29U);
  }
  return number;
}

Number small(std::uint32_t value) { return {value}; }

Number inverse(const Number& a) { return power(a, difference(kP, small(2))); }

struct Constants {
  // d = -121665 / 121666
  Number d = multiply(difference(kP, small(121665)), inverse(small(121666)));
  // a square root of -1: 2^((p-1)/4), as (2^((p-5)/8))^2 * 2
  Number root = multiply(power(small(4), eighth_of_p(-5)), small(2));
};

const Constants& constants() {
  static const Constants all;
  return all;
}

// --- the curve: extended coordinates, x = X/Z, y = Y/Z, xy = T/Z (section 5.1.4)
// ------------------

struct Point {
  Number x, y, z, t;
};

constexpr Point kNeutral = {kZero, kOne, kOne, kZero};

// The formulas have no exceptions, so they double, too.
Point add(const Point& p, const Point& q) {
  const Number a = multiply(subtract(p.y, p.x), subtract(q.y, q.x));
  const Number b = multiply(add(p.y, p.x), add(q.y, q.x));
  const Number tt = multiply(multiply(p.t, q.t), constants().d);
  const Number c = add(tt, tt);
  const Number zz = multiply(p.z, q.z);
  const Number d = add(zz, zz);
  const Number e = subtract(b, a);
  const Number f = subtract(d, c);
  const Number g = add(d, c);
  const Number h = add(b, a);
  return {multiply(e, f), multiply(g, h), multiply(f, g), multiply(e, h)};
}

Point negate(const Point& p) { return {subtract(kZero, p.x), p.y, p.z, subtract(kZero, p.t)}; }

// Section 5.1.3; nothing for bytes that encode no point, or not as section 5.1.2 does.
std::optional<Point> decode(const std::uint8_t* bytes) {
  Number y = read_number(bytes);
  const bool is_odd = bit(y, 255);
  y[kWords - 1] &= 0x7fffffffU;
  if (!is_less(y, kP)) return std::nullopt;
  const Number yy = multiply(y, y);
  const Number u = subtract(yy, kOne);
  const Number v = add(multiply(constants().d, yy), kOne);
  const Number v3 = multiply(multiply(v, v), v);
  const Number v7 = multiply(multiply(v3, v3), v);
  Number x = multiply(multiply(u, v3), power(multiply(u, v7), eighth_of_p(-5)));
  const Number vxx = multiply(v, multiply(x, x));
  if (vxx != u) {
    if (vxx != subtract(kZero, u)) return std::nullopt;
    x = multiply(x, constants().root);
  }
  if (x == kZero && is_odd) return std::nullopt;
  if (bit(x, 0) != is_odd) x = subtract(kZero, x);
  return Point{x, y, kOne, multiply(x, y)};
}

std::array<std::uint8_t, 32> encode(const Point& p) {
  const Number z = inverse(p.z);
  const Number x = multiply(p.x, z);
  const Number y = multiply(p.y, z);
  std::array<std::uint8_t, 32> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(y[i / 4] >> (8 * (i % 4)));
  }
  if (bit(x, 0)) bytes[31] |= 0x80U;
  return bytes;
}

const Point& base_point() {
  static const Point base = [] {
    // y = 4/5, and the even x.
    const Number y = multiply(small(4), inverse(small(5)));
    return *decode(encode({kZero, y, kOne, kZero}).data());
  }();
  return base;
}

// [a]P + [b]Q, both at once, from the highest bit.
Point combine(const Number& a, const Point& p, const Number& b, const Point& q) {
  const Point both = add(p, q);
  Point sum = kNeutral;
  for (std::size_t i = 32 * kWords; i-- > 0;) {
    sum = add(sum, sum);
    if (bit(a, i) && bit(b, i)) {
      sum = add(sum, both);
    } else if (bit(a, i)) {
      sum = add(sum, p);
    } else if (bit(b, i)) {
      sum = add(sum, q);
    }
  }
  return sum;
}

bool has_small_order(const Point& p) {
  const Point twice = add(p, p);
  const Point four = add(twice, twice);
  const Point eight = add(four, four);
  return eight.x == kZero && eight.y == eight.z;
}

// 64 bytes, the lowest first, modulo L: bit by bit.
Number reduce_modulo_l(const std::array<std::uint8_t, 64>& bytes) {
  Number rest{};
  for (std::size_t i = 8 * bytes.size(); i-- > 0;) {
    std::uint32_t carry = (bytes[i / 8] >> (i % 8)) & 1U;
    for (std::uint32_t& word : rest) {
      const std::uint32_t top = word >> 31U;
      word = (word << 1U) | carry;
      carry = top;
    }
    if (!is_less(rest, kL)) rest = difference(rest, kL);
  }
  return rest;
}

const char* as_text(const std::uint8_t* bytes) { return reinterpret_cast<const char*>(bytes); }

}  // namespace

bool is_public_key(const PublicKey& key) {
  const std::optional<Point> a = decode(key.data());
  return a && !has_small_order(*a);
}

bool verify_ed25519(const PublicKey& key, std::string_view signature, std::string_view message) {
  constexpr std::size_t kHalf = 32;
  if (signature.size() != 2 * kHalf) return false;
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(signature.data());
  const Number s = read_number(bytes + kHalf);
  if (!is_less(s, kL)) return false;
  const std::optional<Point> a = decode(key.data());
  if (!a || has_small_order(*a)) return false;
  const Number k = reduce_modulo_l(
      sha512({signature.substr(0, kHalf), {as_text(key.data()), key.size()}, message}));
  const auto r = encode(combine(s, base_point(), k, negate(*a)));
  return std::equal(r.begin(), r.end(), bytes);
}

}  // namespace edge
