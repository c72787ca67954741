// Dense layer: y = f(x W + b) and its gradients.
#pragma once
#include "cpu/gemm.h"

namespace fnn::cpu {

// x [n, in], w [in, out], y [n, out].
Gemm dense_forward(const float* x, const float* w, float* y, std::int64_t n, std::int64_t in, std::int64_t out,
                   const Epilogue& epilogue);

// dz = dy f'(saved) in place or apart, then
//   dw = x^T dz      db = column sums of dz      dx = dz w^T
// Any of dw, db, dx may be null. accumulate: dw and db are added to.
struct DenseBackward : Kernel {
  const float* x;
  const float* w;
  const float* saved;  // y, or the pre-activation where the derivative needs it; unused for linear
  const float* dy;
  float* dz;
  float* dw;
  float* db;
  float* dx;
  std::int64_t n, in, out;
  Activation activation;
  float alpha;
  bool accumulate;

  std::int64_t work() const { return n * in * out / 3; }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;

 private:
  Gemm weight_gradient() const;
  Gemm input_gradient() const;
};

}  // namespace fnn::cpu
