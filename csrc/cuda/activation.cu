// Activation functions on flat arrays; the formulas are in math/activations.h.
#include "cpu/activation.h"
#include "cuda/for_each.cuh"

namespace fnn::cuda {
namespace {

template <class F>
struct Value {
  F f;
  __device__ float operator()(float z) const { return f.value(z); }
};

template <class F>
struct Gradient {
  F f;
  __device__ float operator()(float saved, float dy) const { return f.gradient(saved, dy); }
};

}  // namespace

template <>
void run(const cpu::ActivationForward& kernel, cudaStream_t stream) {
  with_activation(kernel.activation, kernel.alpha,
                  [&](auto f) { map(kernel.count, stream, kernel.y, Value<decltype(f)>{f}, kernel.x); });
}

template <>
void run(const cpu::ActivationBackward& kernel, cudaStream_t stream) {
  with_activation(kernel.activation, kernel.alpha, [&](auto f) {
    map(kernel.count, stream, kernel.dx, Gradient<decltype(f)>{f}, kernel.saved, kernel.dy);
  });
}

}  // namespace fnn::cuda
