// Elementary functions as templates over T: float on host and device, a vector of floats in the CPU's loops.
//
// A vector type joins in by overloading the primitives of this file (select, as_int, as_float, sqrt, quotient, ...)
// beside itself, where argument-dependent lookup finds them. NaN goes in, NaN comes out. exp and log: polynomials of
// Cephes (S. L. Moshier, expf.c and logf.c), 1-2 ulp. libm's expf does not vectorise.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/macros.h"

namespace fnn {

// ---- primitives for one float
FNN_HD FNN_INLINE float select(bool condition, float a, float b) { return condition ? a : b; }
FNN_HD FNN_INLINE std::int32_t select(bool condition, std::int32_t a, std::int32_t b) { return condition ? a : b; }
FNN_HD FNN_INLINE float sqrt(float x) { return ::sqrtf(x); }
// a / b, within 2 ulp where that is faster; what is beyond a float's range, and NaN, as in a division.
FNN_HD FNN_INLINE float quotient(float a, float b) { return a / b; }
FNN_HD FNN_INLINE float abs(float x) { return ::fabsf(x); }
FNN_HD FNN_INLINE std::int32_t abs(std::int32_t n) { return n < 0 ? -n : n; }
FNN_HD FNN_INLINE std::int32_t as_int(float x) {
  std::int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
FNN_HD FNN_INLINE float as_float(std::int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
FNN_HD FNN_INLINE float to_float(std::int32_t n) { return static_cast<float>(n); }
FNN_HD FNN_INLINE std::int32_t truncated(float x) { return static_cast<std::int32_t>(x); }  // within an int's range

FNN_HD FNN_INLINE float positive_part(float x) { return x < 0.f ? 0.f : x; }

// ---- from the primitives; min and max return NaN when `x` is NaN
template <class T>
FNN_HD FNN_INLINE T min(T x, T limit) {
  return select(x > limit, limit, x);
}
template <class T>
FNN_HD FNN_INLINE T max(T x, T limit) {
  return select(x < limit, limit, x);
}
template <class T>
FNN_HD FNN_INLINE T sign(T x) {
  return select(x > T(0.f), T(1.f), select(x < T(0.f), T(-1.f), x));
}  // sign(0) = 0

// x = n ln 2 + r with |r| <= ln 2 / 2: what exp and its relatives are put together from.
template <class T>
struct ReducedExp {
  T expm1_r;    // exp(r) - 1, by Cephes' polynomial
  T n_in_bits;  // a float whose low bits hold n
};

// For |x| < 2^21.
template <class T>
FNN_HD FNN_INLINE ReducedExp<T> reduce_exp(T x) {
  constexpr float kLog2e = 1.44269504088896341f, kLn2Hi = 0.693359375f, kLn2Lo = -2.12194440e-4f;
  constexpr float kMagic = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer
  const T shifted = x * T(kLog2e) + T(kMagic);
  const T n = shifted - T(kMagic);
  const T r = x - n * T(kLn2Hi) - n * T(kLn2Lo);
  T p = T(1.9875691500e-4f);
  p = p * r + T(1.3981999507e-3f);
  p = p * r + T(8.3334519073e-3f);
  p = p * r + T(4.1665795894e-2f);
  p = p * r + T(1.6666665459e-1f);
  p = p * r + T(5.0000001201e-1f);
  return {p * r * r + r, shifted};
}

// exp(x); 0 below -86.9 (results under 1.8e-38 are flushed), inf above 88.72.
template <class T>
FNN_HD FNN_INLINE T exp(T x) {
  const ReducedExp<T> e = reduce_exp(max(min(x, T(88.73f)), T(-87.f)));
  const T half_scale = as_float((as_int(e.n_in_bits) + 126) << 23);  // 2^(n-1), so that n = 128 is still in range
  const T y = (e.expm1_r + T(1.f)) * half_scale * T(2.f);
  return select(x > T(88.722839f), T(INFINITY), select(x < T(-86.9f), T(0.f), y));
}

// Natural logarithm; -inf at 0, NaN below; denormal arguments count as 0.
template <class T>
FNN_HD FNN_INLINE T log(T x) {
  const auto bits = as_int(x);
  const auto exponent_bits = (bits - 0x3f3504f3) >> 23;  // mantissa in [sqrt(1/2), sqrt(2))
  const T m = as_float(bits - (exponent_bits << 23)) - T(1.f);
  const T e = to_float(exponent_bits);
  T p = T(7.0376836292e-2f);
  p = p * m - T(1.1514610310e-1f);
  p = p * m + T(1.1676998740e-1f);
  p = p * m - T(1.2420140846e-1f);
  p = p * m + T(1.4249322787e-1f);
  p = p * m - T(1.6668057665e-1f);
  p = p * m + T(2.0000714765e-1f);
  p = p * m - T(2.4999993993e-1f);
  p = p * m + T(3.3333331174e-1f);
  const T square = m * m;
  const T y = m + (m * square * p + e * T(-2.12194440e-4f) - square * T(0.5f)) + e * T(0.693359375f);
  const T finite = select(x < T(1.17549435e-38f), select(x < T(0.f), T(NAN), T(-INFINITY)), y);
  return select(x < T(INFINITY), finite, x);  // inf and NaN pass through
}

// log(1 + x) for x >= 0, accurate for small x (W. Kahan's correction of the rounding of 1 + x).
template <class T>
FNN_HD FNN_INLINE T log1p(T x) {
  const T u = T(1.f) + x;
  const T corrected = log(u) * (x / (u - T(1.f)));
  return select(u > T(1.f), select(u < T(INFINITY), corrected, u), x);
}

// tanh(x); the rational form of Eigen (|x| < 7.9, odd polynomial of degree 13 over one of degree 6), at most 6 ulp; 1
// beyond 8.3, where that is nearer than the form at its end.
template <class T>
FNN_HD FNN_INLINE T tanh(T x) {
  const T c = max(min(x, T(7.90531110763549805f)), T(-7.90531110763549805f));
  const T s = c * c;
  T p = T(-2.76076847742355e-16f);
  p = p * s + T(2.00018790482477e-13f);
  p = p * s + T(-8.60467152213735e-11f);
  p = p * s + T(5.12229709037114e-08f);
  p = p * s + T(1.48572235717979e-05f);
  p = p * s + T(6.37261928875436e-04f);
  p = p * s + T(4.89352455891786e-03f);
  T q = T(1.19825839466702e-06f);
  q = q * s + T(1.18534705686654e-04f);
  q = q * s + T(2.26843463243900e-03f);
  q = q * s + T(4.89352518554385e-03f);
  const T y = select(abs(x) < T(4e-4f), x, c * p / q);
  return select(abs(x) > T(8.3f), sign(x), y);
}

// 1 / (1 + exp(-x))
template <class T>
FNN_HD FNN_INLINE T sigmoid(T x) {
  return T(1.f) / (T(1.f) + exp(T(0.f) - x));
}

}  // namespace fnn
