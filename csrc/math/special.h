// Special functions of the activations, over T as in math/numeric.h: expm1, erf and the normal distribution.
#pragma once
#include "base/macros.h"
#include "math/numeric.h"

namespace fnn {

// exp(x) - 1 for x <= 0 without cancellation near 0: 2^n (exp(r) - 1) + (2^n - 1). -1 below -86.9.
template <class T>
FNN_HD FNN_INLINE T expm1_nonpositive(T x) {
  constexpr float kLog2e = 1.44269504088896341f, kLn2Hi = 0.693359375f, kLn2Lo = -2.12194440e-4f;
  constexpr float kMagic = 12582912.f;  // see exp
  const T clamped = max(x, T(-86.9f));
  const T shifted = clamped * T(kLog2e) + T(kMagic);
  const T n = shifted - T(kMagic);
  const T r = clamped - n * T(kLn2Hi) - n * T(kLn2Lo);
  T p = T(1.9875691500e-4f);
  p = p * r + T(1.3981999507e-3f);
  p = p * r + T(8.3334519073e-3f);
  p = p * r + T(4.1665795894e-2f);
  p = p * r + T(1.6666665459e-1f);
  p = p * r + T(5.0000001201e-1f);
  p = p * r * r + r;
  const T scale = as_float((as_int(shifted) + 127) << 23);
  return p * scale + (scale - T(1.f));
}

// erf(x), about 2 ulp: an odd polynomial near 0, 1 - exp(polynomial) further out (minimax fits of N. Juffa).
template <class T>
FNN_HD FNN_INLINE T erf(T x) {
  const T t = abs(x);
  const T s = x * x;
  T far = T(-1.72853470e-5f) * t + T(3.83197126e-4f);
  far = far * s + (T(-3.88396438e-3f) * t + T(2.42546219e-2f));
  far = far * t + T(-1.06777877e-1f);
  far = far * t + T(-6.34846687e-1f);
  far = far * t + T(-1.28717512e-1f);
  far = far * t - t;
  far = T(1.f) - exp(min(far, T(0.f)));
  T near = T(-5.96761703e-4f);
  near = near * s + T(4.99119423e-3f);
  near = near * s + T(-2.67681349e-2f);
  near = near * s + T(1.12819925e-1f);
  near = near * s + T(-3.76125336e-1f);
  near = near * s + T(1.28379166e-1f);
  near = near * x + x;
  return select(t > T(0.927734375f), select(x < T(0.f), T(0.f) - far, far), near);
}

// The standard normal distribution function and its density.
template <class T>
FNN_HD FNN_INLINE T normal_cdf(T x) {
  return T(0.5f) + T(0.5f) * erf(x * T(0.70710678118654752f));
}
template <class T>
FNN_HD FNN_INLINE T normal_pdf(T x) {
  return T(0.39894228040143268f) * exp(T(-0.5f) * x * x);
}

}  // namespace fnn
