// Dense layer: y = f(x W + b) and its gradients, from matrix products and one pass over the gradient of y.
#include "cpu/dense.h"
#include "cpu/dense_update.h"
#include "cuda/gemm.h"
#include "cuda/gradient.h"
#include "cuda/queued_step.h"
#include "cuda/workspace.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

cpu::Gemm weight_gradient(const float* x, const float* dz, float* dw, int64_t n, int64_t in, int64_t out,
                          bool accumulate) {
  return {{}, in, out, n, x, in, true, dz, out, false, dw, out, accumulate, {}};
}

cpu::Gemm input_gradient(const float* dz, const float* w, float* dx, int64_t n, int64_t in, int64_t out) {
  return {{}, n, in, out, dz, out, false, w, out, true, dx, in, false, {}};
}

void step(const cpu::TensorUpdate& update, const float* grad, cudaStream_t stream) {
  static_cast<const QueuedStep*>(update.step)->enqueue(*update.tensor, grad, stream);
}

}  // namespace

template <>
void run(const cpu::DenseForward& kernel, cudaStream_t stream) {
  multiply(kernel, stream);
}

template <>
void run(const cpu::DenseBackward& k, cudaStream_t stream) {
  const cpu::Gemm dw = weight_gradient(k.x, k.dz, k.dw, k.n, k.in, k.out, k.accumulate);
  // Where dz is there already, its sums may come with the product.
  const bool done = k.activation == Activation::linear && k.dz == k.dy && k.dw != nullptr && k.db != nullptr &&
                    !k.accumulate && multiply_and_sum_columns(dw, k.db, stream);
  if (!done) {
    begin_backward(k.activation, k.alpha, k.saved, k.dy, k.dz, k.db, k.n, k.out, k.accumulate, stream);
    if (k.dw != nullptr) multiply(dw, stream);
  }
  if (k.dx != nullptr) multiply(input_gradient(k.dz, k.w, k.dx, k.n, k.in, k.out), stream);
}

template <>
void run(const cpu::DenseInputGradient& k, cudaStream_t stream) {
  begin_backward(k.activation, k.alpha, k.saved, k.dy, k.dz, nullptr, k.n, k.out, false, stream);
  if (k.dx != nullptr) multiply(input_gradient(k.dz, k.w, k.dx, k.n, k.in, k.out), stream);
}

// The gradients lie in memory for as long as the steps with them take.
template <>
void run(const cpu::DenseUpdate& k, cudaStream_t stream) {
  const Workspace gradients(static_cast<std::size_t>((k.in + 1) * k.out) * sizeof(float), stream);
  float *const dw = gradients.as<float>(), *const db = dw + k.in * k.out;
  if (k.w) {
    multiply(weight_gradient(k.x, k.dz, dw, k.n, k.in, k.out, false), stream);
    step(k.w, dw, stream);
  }
  if (k.b) {
    float* const dz = const_cast<float*>(k.dz);  // only read: the same array as dy
    begin_backward(Activation::linear, 0.f, nullptr, k.dz, dz, db, k.n, k.out, false, stream);
    step(k.b, db, stream);
  }
}

}  // namespace fnn::cuda
