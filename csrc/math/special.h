// Special functions of the activations, over T as in math/numeric.h: expm1 and the normal distribution.
#pragma once
#include "base/macros.h"
#include "math/numeric.h"

namespace fnn {

// exp(x) - 1 for x <= 0 without cancellation near 0: 2^n (exp(r) - 1) + (2^n - 1). -1 below -86.9.
template <class T>
FNN_HD FNN_INLINE T expm1_nonpositive(T x) {
  const ReducedExp<T> e = reduce_exp(max(x, T(-86.9f)));
  const T scale = as_float((as_int(e.n_in_bits) + 127) << 23);
  return e.expm1_r * scale + (scale - T(1.f));
}

// Phi(x), the distribution function of the standard normal, and phi(x), its density. Phi(-|x|) = exp(-x^2 / 2) G(|x|),
// where G is a minimax polynomial (own fit, relative error 3.6e-8 on [0, 13.5]) in 1 / (1 + 0.296 |x|). Phi keeps about
// 3 ulp near 0 and a relative 1e-6 far out on the negative side, where (1 + erf(x / sqrt 2)) / 2 cancels to nothing.
template <class T>
struct Normal {
  T cdf, pdf;
};
template <class T>
FNN_HD FNN_INLINE Normal<T> normal(T x) {
  const T e = exp(T(-0.5f) * x * x);
  const T w = T(1.f) / (T(1.f) + T(0.296f) * abs(x));
  T p = T(0.039452698f);
  p = p * w + T(-0.18155706f);
  p = p * w + T(0.26416934f);
  p = p * w + T(-0.11040931f);
  p = p * w + T(0.16234836f);
  p = p * w + T(0.08645744f);
  p = p * w + T(0.12180062f);
  p = p * w + T(0.1177226f);
  p = p * w + T(1.5338683e-05f);
  const T tail = e * p;
  return {select(x < T(0.f), tail, T(1.f) - tail), e * T(0.39894228f)};
}

}  // namespace fnn
