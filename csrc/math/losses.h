// Losses of one output: value and gradient with respect to the prediction, over T as in math/numeric.h.
//
// Each functor maps (prediction, target) to LossTerm{value, gradient}. Cross-entropy over classes isn't a sum of such
// terms of independent outputs; its rows are in cpu/loss.cpp.
#pragma once
#include "base/macros.h"
#include "math/numeric.h"

namespace fnn {

template <class T>
struct LossTerm {
  T value, gradient;
};

// Probabilities are kept this far from 0 and 1 before their logarithm is taken, as in Keras.
inline constexpr float kProbabilityMargin = 1e-7f;

// Value clipped to [margin, 1 - margin]; the gradient of the clip is `inside`: 1 between the limits, 0 beyond.
template <class T>
struct Clipped {
  T value, inside;
};
template <class T>
FNN_HD FNN_INLINE Clipped<T> clip_probability(T p) {
  const T low = T(kProbabilityMargin), high = T(1.f - kProbabilityMargin);
  const T clipped = min(max(p, low), high);
  return {clipped, select(p < low, T(0.f), select(p > high, T(0.f), T(1.f)))};
}

// (p - t)^2
struct SquaredError {
  template <class T>
  FNN_HD FNN_INLINE LossTerm<T> operator()(T p, T t) const {
    const T e = p - t;
    return {e * e, e + e};
  }
};

// |p - t|; the gradient at 0 is 0
struct AbsoluteError {
  template <class T>
  FNN_HD FNN_INLINE LossTerm<T> operator()(T p, T t) const {
    const T e = p - t;
    return {abs(e), sign(e)};
  }
};

// e^2 / 2 for |e| <= delta, delta (|e| - delta / 2) beyond (Huber 1964)
struct HuberError {
  float delta;
  template <class T>
  FNN_HD FNN_INLINE LossTerm<T> operator()(T p, T t) const {
    const T e = p - t;
    const T bounded = max(min(e, T(delta)), T(-delta));
    return {bounded * (e - T(0.5f) * bounded), bounded};
  }
};

// Binary cross-entropy of sigmoid(z): max(z, 0) - z t + log(1 + exp(-|z|)), which is stable for every z.
struct SigmoidCrossEntropy {
  float smoothing;
  template <class T>
  FNN_HD FNN_INLINE LossTerm<T> operator()(T z, T t) const {
    const T target = t * T(1.f - smoothing) + T(0.5f * smoothing);
    const T e = exp(T(0.f) - abs(z));  // in (0, 1]
    const T value = max(z, T(0.f)) - z * target + log1p(e);
    const T probability = select(z < T(0.f), e, T(1.f)) / (T(1.f) + e);
    return {value, probability - target};
  }
};

// -(t log p + (1 - t) log(1 - p)), p clipped
struct BinaryCrossEntropy {
  float smoothing;
  template <class T>
  FNN_HD FNN_INLINE LossTerm<T> operator()(T p, T t) const {
    const T target = t * T(1.f - smoothing) + T(0.5f * smoothing);
    const Clipped<T> q = clip_probability(p);
    const T other = T(1.f) - q.value;
    const T value = T(0.f) - target * log(q.value) - (T(1.f) - target) * log(other);
    return {value, q.inside * (q.value - target) / (q.value * other)};
  }
};

}  // namespace fnn
