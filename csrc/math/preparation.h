// What a step does to a parameter and its gradient before the update rule sees them, as templates over T: float on host
// and device, a vector of floats in the CPU's loops.
#pragma once
#include <cmath>

#include "base/macros.h"
#include "math/numeric.h"

namespace fnn {

// What happens to the gradient of one tensor: scaled, regularised, clipped by norm (factor) and by value (limit), and
// coupled weight decay added.
struct Preparation {
  float scale, l1, l2, factor, limit, coupled;

  // Of an OptimizerTensor with StepOptions (cpu/tensor_update.h).
  template <class Tensor, class Options>
  FNN_HD Preparation(const Tensor& tensor, const Options& options, double factor)
      : scale(options.scale),
        l1(tensor.l1),
        l2(tensor.l2),
        factor(static_cast<float>(factor)),
        limit(options.clip_value > 0.f ? options.clip_value : INFINITY),
        coupled(options.decoupled ? 0.f : static_cast<float>(options.weight_decay * tensor.decay)) {}
  Preparation() = default;

  FNN_HD bool only_scales() const { return l1 == 0.f && l2 == 0.f && limit == INFINITY && coupled == 0.f; }
  template <class T>
  FNN_HD FNN_INLINE T regularized(T p, T g) const {
    return T(scale) * g + (T(l1) * sign(p) + T(l2) * p);
  }
  template <class T>
  FNN_HD FNN_INLINE T operator()(T p, T g) const {
    const T clipped = max(min(T(factor) * regularized(p, g), T(limit)), T(-limit));
    return clipped + T(coupled) * p;
  }
};

// What decoupled weight decay leaves of p. Not as a product with 1 - decay, which float32 rounds the same way in each
// step: by a hundredth of a decay of 4e-6, and all of one of 5e-8.
struct Keep {
  float decay;
  template <class T>
  FNN_HD FNN_INLINE T operator()(T p) const {
    return p - T(decay) * p;
  }
};

}  // namespace fnn
