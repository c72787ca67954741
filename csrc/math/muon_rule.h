// Muon's rule (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): what is about single elements of it. The
// caller orthogonalises the direction as a matrix.
#pragma once
#include <cmath>
#include <cstdint>

#include "base/macros.h"

namespace fnn {

// m = momentum m + (1 - momentum) g, the direction u = m, or momentum m + (1 - momentum) g with nesterov;
// p -= lr (U' of what orthogonalising the matrix U gives): U / |U|_F, or U / (|U|_F + eps) with eps_added, and ns_steps
// times X <- a X + b (X X^T) X + c (X X^T)^2 X.
//
// bias_correction (optax): m / (1 - momentum^t), and with nesterov m / (1 - momentum^(t+1)), g / (1 - momentum^t).
struct MuonRule {
  static constexpr int kSlots = 1;
  double momentum, a, b, c, eps;
  std::int64_t ns_steps;
  bool nesterov, eps_added = false, bias_correction = false;

  struct Step {
    float momentum, gain, buffer_factor, gradient_factor;
    template <class T>
    FNN_HD FNN_INLINE T direction(T g, T* slots) const {
      slots[0] = T(momentum) * slots[0] + T(gain) * g;
      return T(buffer_factor) * slots[0] + T(gradient_factor) * g;
    }
  };
  FNN_HD Step at(std::int64_t t) const {
    const double steps = static_cast<double>(t), gain = 1.0 - momentum;
    const double now = bias_correction ? 1.0 - std::pow(momentum, steps) : 1.0;
    const double next = bias_correction ? 1.0 - std::pow(momentum, steps + 1.0) : 1.0;
    return {static_cast<float>(momentum), static_cast<float>(gain),
            static_cast<float>(nesterov ? momentum / next : 1.0 / now),
            static_cast<float>(nesterov ? gain / now : 0.0)};
  }
  // What the direction, of this norm, is multiplied by before the iteration.
  FNN_HD double scale(double norm) const { return 1.0 / (eps_added ? norm + eps : (norm > eps ? norm : eps)); }
};

}  // namespace fnn
