// Activation functions on flat arrays; the formulas are in math/activations.h.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "math/activations.h"

namespace fnn::cpu {

// y[i] = f(x[i]); y may be x.
struct ActivationForward : Kernel {
  const float* x;
  float* y;
  std::int64_t count;
  Activation activation;
  float alpha;

  std::int64_t work() const { return activation <= Activation::leaky_relu ? count : 4 * count; }
  void operator()(const Worker& worker) const;
};

// dx[i] = f'(.) dy[i]. saved: the input if grad_from_input(activation), else the output; unused for linear. dx may be
// dy.
struct ActivationBackward : Kernel {
  const float* saved;
  const float* dy;
  float* dx;
  std::int64_t count;
  Activation activation;
  float alpha;

  std::int64_t work() const { return grad_from_input(activation) ? 4 * count : count; }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
