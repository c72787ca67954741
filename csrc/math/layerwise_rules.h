// Update rules that scale a tensor's whole step by what its parameters' norm is to that of their direction: as in
// update_rules.h, but in two passes. `first` gives the direction of one element, whose squares the caller adds up;
// `ratio` makes a factor of the two norms; `second` gives the new p.
//
// p comes to both with the decoupled decay of `keep`; `decay` is what weight decay adds to the direction, times p.
// `base` is what the result of `second` is counted from, p as a rule.
#pragma once
#include "math/update_rules.h"

namespace fnn {

// m and v as in Adam, u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t) + eps_root) + eps) + weight_decay p, p -= lr |p| / |u|
// u (You et al. 2020, Large batch optimization for deep learning: training BERT in 76 minutes, algorithm 2).
struct LambRule {
  static constexpr int kSlots = 2;
  static constexpr bool kStatesInFirst = true, kGradInSecond = false, kDecayInDirection = true;
  double beta1, beta2, eps;
  bool bias_correction;
  double eps_root = 0.0;

  struct Step {
    float lr, rest1, rest2, m_factor, v_factor, eps, eps_root;
    template <class T>
    FNN_HD FNN_INLINE T first(T p, T g, T decay, T* slots) const {
      slots[0] = slots[0] + T(rest1) * (g - slots[0]);
      slots[1] = slots[1] + T(rest2) * (g * g - slots[1]);
      return direction(p, decay, slots);
    }
    template <class T>
    FNN_HD FNN_INLINE T second(T base, T p, T /*g*/, T decay, T* slots, float ratio) const {
      return base - T(lr * ratio) * direction(p, decay, slots);
    }
    template <class T>
    FNN_HD FNN_INLINE T direction(T p, T decay, const T* slots) const {
      return quotient(T(m_factor) * slots[0], sqrt(T(v_factor) * slots[1] + T(eps_root)) + T(eps)) + decay * p;
    }
  };
  FNN_HD Step at(double lr, std::int64_t t) const {
    const double steps = static_cast<double>(t);
    return {static_cast<float>(lr),
            static_cast<float>(1.0 - beta1),
            static_cast<float>(1.0 - beta2),
            static_cast<float>(bias_correction ? 1.0 / (1.0 - std::pow(beta1, steps)) : 1.0),
            static_cast<float>(bias_correction ? 1.0 / (1.0 - std::pow(beta2, steps)) : 1.0),
            static_cast<float>(eps),
            static_cast<float>(eps_root)};
  }
  FNN_HD double ratio(double param_norm, double direction_norm) const {
    return param_norm > 0.0 && direction_norm > 0.0 ? param_norm / direction_norm : 1.0;
  }
};

// u = trust_coefficient |p| / (|g| + eps) g, g with its weight decay (You et al. 2017, Large batch training of
// convolutional networks); then p -= lr u, or kMomentum: MomentumRule with u for g. lr_in_momentum, negated_buffer: the
// buffer holds lr u, or -lr u (optax).
template <bool kMomentum>
struct LarsRule {
  static constexpr int kSlots = kMomentum;
  static constexpr bool kStatesInFirst = false, kGradInSecond = true, kDecayInDirection = false;
  double momentum, trust_coefficient, eps;
  bool nesterov, lr_in_momentum, negated_buffer = false;

  struct Step {
    float momentum, gain, buffer_factor, gradient_factor;
    template <class T>
    FNN_HD FNN_INLINE T first(T /*p*/, T g, T /*decay*/, T* /*slots*/) const {
      return g;
    }
    template <class T>
    FNN_HD FNN_INLINE T second(T base, T /*p*/, T g, T /*decay*/, T* slots, float ratio) const {
      const T u = T(ratio) * g;
      if constexpr (kMomentum) {
        slots[0] = T(momentum) * slots[0] + T(gain) * u;
        return base - (T(buffer_factor) * slots[0] + T(gradient_factor) * u);
      } else {
        return base - T(gradient_factor) * u;
      }
    }
  };
  FNN_HD Step at(double lr, std::int64_t /*t*/) const {
    const double sign = negated_buffer ? -1.0 : 1.0, outer = lr_in_momentum ? 1.0 : lr;
    return {static_cast<float>(momentum), static_cast<float>(sign * (lr_in_momentum ? lr : 1.0)),
            static_cast<float>(sign * outer * (nesterov ? momentum : 1.0)),
            static_cast<float>(!kMomentum || nesterov ? lr : 0.0)};
  }
  FNN_HD double ratio(double param_norm, double gradient_norm) const {
    return param_norm > 0.0 && gradient_norm > 0.0 ? trust_coefficient * param_norm / (gradient_norm + eps) : 1.0;
  }
};

}  // namespace fnn
