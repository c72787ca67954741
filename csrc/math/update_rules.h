// Update rules of the optimizers. A rule holds the hyperparameters; `at(lr, t)` makes the numbers of step t (from 1),
// in float64, as a functor that maps parameter p, gradient g and the state slots of one element to the new p and state.
//
// The functor is a template over T: float on host and device, a vector of floats in the CPU's loops. Regularisation,
// clipping and weight decay are the caller's: g comes in with them.
#pragma once
#include <cmath>
#include <cstdint>

#include "base/macros.h"
#include "math/numeric.h"

namespace fnn {

// p -= lr g. As all rules: kSlots arrays of state, of which those can be negative that have a bit in kSignedSlots.
struct SgdRule {
  static constexpr int kSlots = 0;
  static constexpr unsigned kSignedSlots = 0;
  struct Step {
    float lr;
    template <class T>
    FNN_HD FNN_INLINE T operator()(T p, T g, T* /*slots*/) const {
      return p - T(lr) * g;
    }
  };
  FNN_HD Step at(double lr, std::int64_t /*t*/) const { return {static_cast<float>(lr)}; }
};

// buf = momentum buf + (1 - dampening) g, without dampening in the first step;
// p -= lr buf, or lr (g + momentum buf) with nesterov (Sutskever et al. 2013).
// lr_in_momentum: the buffer holds lr g (Keras), which differs where lr changes.
struct MomentumRule {
  static constexpr int kSlots = 1;
  static constexpr unsigned kSignedSlots = 1;
  double momentum, dampening;
  bool nesterov, lr_in_momentum;
  struct Step {
    float momentum, gain, buffer_factor, gradient_factor;
    template <class T>
    FNN_HD FNN_INLINE T operator()(T p, T g, T* slots) const {
      slots[0] = T(momentum) * slots[0] + T(gain) * g;
      return p - (T(buffer_factor) * slots[0] + T(gradient_factor) * g);
    }
  };
  FNN_HD Step at(double lr, std::int64_t t) const {
    const double gain = t == 1 ? 1.0 : 1.0 - dampening;
    const double outer = lr_in_momentum ? 1.0 : lr;
    return {static_cast<float>(momentum), static_cast<float>(lr_in_momentum ? lr * gain : gain),
            static_cast<float>(nesterov ? outer * momentum : outer), static_cast<float>(nesterov ? lr : 0.0)};
  }
};

// m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)
// (Kingma & Ba 2015, algorithm 1). eps_hat: eps is added to sqrt(v) and not to the corrected root (their section 2;
// Keras). kAmsgrad: the largest v so far in place of v (Reddi et al. 2018; without correction of v in the maximum, as
// torch and Keras, or with it, corrected_maximum, as optax). eps_root is added to the corrected v (optax). nesterov:
// b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t) in place of the corrected m (Dozat 2016; the next step's b1 m).
template <bool kAmsgrad>
struct AdamRule {
  static constexpr int kSlots = kAmsgrad ? 3 : 2;
  static constexpr unsigned kSignedSlots = 1;
  double beta1, beta2, eps;
  bool bias_correction, eps_hat;
  double eps_root = 0.0;
  bool nesterov = false, corrected_maximum = false;
  bool corrects_m = true, corrects_v = true;  // the two halves of bias_correction
  struct Step {
    float rest1, rest2, step_size, gradient_factor, maximum_factor, eps_root, eps;
    template <class T>
    FNN_HD FNN_INLINE T operator()(T p, T g, T* slots) const {
      // b m + (1 - b) g as m + (1 - b) (g - m): additions have units of their own beside those of products.
      const T m = slots[0] = slots[0] + T(rest1) * (g - slots[0]);
      T v = slots[1] = slots[1] + T(rest2) * (g * g - slots[1]);
      if constexpr (kAmsgrad) v = slots[2] = max(v * T(maximum_factor), slots[2]);
      const T step = T(step_size) * m + T(gradient_factor) * g;
      return p - quotient(step, sqrt(v + T(eps_root)) + T(eps));
    }
  };
  FNN_HD Step at(double lr, std::int64_t t) const {
    const double steps = static_cast<double>(t);
    const double correction1 = bias_correction && corrects_m ? 1.0 - std::pow(beta1, steps) : 1.0;
    const double next1 = bias_correction && corrects_m ? 1.0 - std::pow(beta1, steps + 1.0) : 1.0;
    const double root2 = bias_correction && corrects_v ? std::sqrt(1.0 - std::pow(beta2, steps)) : 1.0;
    // lr/c1 m / (sqrt(v)/r + eps) = lr r/c1 m / (sqrt(v) + eps r), r being of what is under the root
    const double v_root2 = corrected_maximum ? 1.0 : root2;
    const double rate = lr * v_root2;
    return {static_cast<float>(1.0 - beta1),
            static_cast<float>(1.0 - beta2),
            static_cast<float>(nesterov ? rate * beta1 / next1 : rate / correction1),
            static_cast<float>(nesterov ? rate * (1.0 - beta1) / correction1 : 0.0),
            static_cast<float>(corrected_maximum ? 1.0 / (root2 * root2) : 1.0),
            static_cast<float>(eps_root * v_root2 * v_root2),  // sqrt(v/r^2 + e) = sqrt(v + e r^2) / r
            static_cast<float>(eps * v_root2 / (eps_hat ? root2 : 1.0))};
  }
};

// v = alpha v + (1 - alpha) g^2; d = v, kCentered: v - a^2 with a = alpha a + (1 - alpha) g (Graves 2013, equations
// 38-41); u = g / (sqrt(d) + eps), or g / sqrt(d + eps) with eps_inside_sqrt (Keras); p -= lr u, kMomentum: buf =
// momentum buf + u, p -= lr buf, the buffer holding lr u with lr_in_momentum (Keras).
//
// Further as in optax: bias_correction, v / (1 - alpha^t) and a / (1 - alpha^t) in d; nesterov, u + momentum buf in
// place of buf; negated_buffer, the buffer holding -buf.
template <bool kCentered, bool kMomentum>
struct RmspropRule {
  static constexpr int kSlots = 1 + kCentered + kMomentum;
  static constexpr unsigned kSignedSlots = ~1u;
  double alpha, eps, momentum;
  bool eps_inside_sqrt, lr_in_momentum;
  bool bias_correction = false, nesterov = false, negated_buffer = false;
  struct Step {
    float alpha, rest, correction, eps_inside, eps_outside, momentum, gain, buffer_factor, gradient_factor;
    template <class T>
    FNN_HD FNN_INLINE T operator()(T p, T g, T* slots) const {
      T d = slots[0] = T(alpha) * slots[0] + T(rest) * g * g;
      d = d * T(correction);
      if constexpr (kCentered) {
        T a = slots[1] = T(alpha) * slots[1] + T(rest) * g;
        a = a * T(correction);
        d = max(d - a * a, T(0.f));  // rounding can bring a variance of 0 below 0
      }
      const T u = quotient(g, sqrt(d + T(eps_inside)) + T(eps_outside));
      if constexpr (kMomentum) {
        const T buffer = slots[kSlots - 1] = T(momentum) * slots[kSlots - 1] + T(gain) * u;
        return p - (T(buffer_factor) * buffer + T(gradient_factor) * u);
      } else {
        return p - T(gradient_factor) * u;
      }
    }
  };
  FNN_HD Step at(double lr, std::int64_t t) const {
    const double gain = lr_in_momentum ? lr : 1.0, sign = negated_buffer ? -1.0 : 1.0;
    const double outer = lr_in_momentum ? 1.0 : lr;
    return {static_cast<float>(alpha),
            static_cast<float>(1.0 - alpha),
            static_cast<float>(bias_correction ? 1.0 / (1.0 - std::pow(alpha, static_cast<double>(t))) : 1.0),
            static_cast<float>(eps_inside_sqrt ? eps : 0.0),
            static_cast<float>(eps_inside_sqrt ? 0.0 : eps),
            static_cast<float>(momentum),
            static_cast<float>(sign * gain),
            static_cast<float>(sign * outer * (nesterov ? momentum : 1.0)),
            static_cast<float>(!kMomentum || nesterov ? lr : 0.0)};
  }
};

// s += g^2, p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps) (Duchi et al. 2011), or g / sqrt(s + eps) with
// eps_inside_sqrt (Keras, optax).
struct AdagradRule {
  static constexpr int kSlots = 1;
  static constexpr unsigned kSignedSlots = 0;
  double lr_decay, eps;
  bool eps_inside_sqrt;
  struct Step {
    float lr, eps_inside, eps_outside;
    template <class T>
    FNN_HD FNN_INLINE T operator()(T p, T g, T* slots) const {
      const T sum = slots[0] = slots[0] + g * g;
      return p - quotient(T(lr) * g, sqrt(sum + T(eps_inside)) + T(eps_outside));
    }
  };
  FNN_HD Step at(double lr, std::int64_t t) const {
    return {static_cast<float>(lr / (1.0 + static_cast<double>(t - 1) * lr_decay)),
            static_cast<float>(eps_inside_sqrt ? eps : 0.0), static_cast<float>(eps_inside_sqrt ? 0.0 : eps)};
  }
};

// p -= lr sign(b1 m + (1 - b1) g), m = b2 m + (1 - b2) g (Chen et al. 2023, Symbolic discovery of optimization
// algorithms, algorithm 2: the sign is of an average that is not the one kept). NaN has the sign NaN.
struct LionRule {
  static constexpr int kSlots = 1;
  static constexpr unsigned kSignedSlots = 1;
  double beta1, beta2;
  struct Step {
    float lr, beta1, rest1, beta2, rest2;
    template <class T>
    FNN_HD FNN_INLINE T operator()(T p, T g, T* slots) const {
      const T m = slots[0];
      slots[0] = T(beta2) * m + T(rest2) * g;
      return p - T(lr) * sign(T(beta1) * m + T(rest1) * g);
    }
  };
  FNN_HD Step at(double lr, std::int64_t /*t*/) const {
    return {static_cast<float>(lr), static_cast<float>(beta1), static_cast<float>(1.0 - beta1),
            static_cast<float>(beta2), static_cast<float>(1.0 - beta2)};
  }
};

}  // namespace fnn
