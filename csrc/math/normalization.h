// Normalization: how moments of parts are put together, and what each element becomes; templates over T (float or
// double on host and device, a vector in the CPU's loops).
//
// Batch normalization: S. Ioffe and C. Szegedy, 2015, arXiv:1502.03167. Layer normalization: J. L. Ba et al., 2016,
// arXiv:1607.06450. Moments of parts: T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating Formulae and a Pairwise
// Algorithm for Computing Sample Variances" (1982).
#pragma once
#include <cmath>

#include "base/macros.h"
#include "math/numeric.h"

namespace fnn {

// Of some elements: their mean, and the sum of the squares of their distances from it.
template <class T>
struct Moments {
  T mean, squares;
};

// Of `count` elements and `other_count` more; sums of raw squares would cancel where the mean is large.
template <class T>
FNN_HD FNN_INLINE Moments<T> merge(Moments<T> a, T count, Moments<T> b, T other_count) {
  const T distance = b.mean - a.mean, part = other_count / (count + other_count);
  return {a.mean + distance * part, a.squares + b.squares + distance * distance * count * part};
}

// 1 / sqrt(variance + eps)
FNN_HD FNN_INLINE float inverse_deviation(double variance, double eps) {
  return static_cast<float>(1.0 / ::sqrt(variance + eps));
}

// What a moving average is after a batch; one that isn't finite leaves it as it was, as its update will be left out.
FNN_HD FNN_INLINE float moving_average(float average, double of_batch, double momentum) {
  const double next = average * momentum + of_batch * (1.0 - momentum);
  return next - next == 0.0 ? static_cast<float>(next) : average;
}

// y = (x - mean) scale + beta, where scale = gamma / deviation
template <class T>
FNN_HD FNN_INLINE T normalized(T x, T mean, T scale, T beta) {
  return (x - mean) * scale + beta;
}

// The gradient with respect to x, where mean and deviation are those of x itself:
//   dx = scale (g - mean(g) - x^ mean(g x^))     with x^ = (x - mean) inv_std
// g is dy and scale gamma inv_std where gamma is the same for all elements that share mean and deviation, else g is
// dy gamma and scale inv_std. slope is normalized_slope of the sum of g (x - mean).
template <class T>
FNN_HD FNN_INLINE T normalized_gradient(T x, T g, T mean, T scale, T mean_g, T slope) {
  return ((g - mean_g) + (x - mean) * slope) * scale;
}
FNN_HD FNN_INLINE float normalized_slope(double sum_centered, double count, double inv_std) {
  return static_cast<float>(-inv_std * inv_std * sum_centered / count);
}

}  // namespace fnn
