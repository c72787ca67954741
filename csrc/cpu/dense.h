// Dense layer: y = f(x W + b) and its gradients.
#pragma once
#include "cpu/gemm.h"

namespace fnn::cpu {

// y = f(x W + b): x [n, in], w [in, out], y [n, out].
//
// With few samples and many weights each thread takes some rows of w, in parts that don't depend on the number of
// threads, and the parts of every sum are added up in order: the same bits on one thread.
struct DenseForward : Gemm {
  DenseForward(const float* x, const float* w, float* y, std::int64_t n, std::int64_t in, std::int64_t out,
               const Epilogue& epilogue)
      : Gemm{{}, n, out, in, x, in, false, w, out, false, y, out, false, epilogue} {}

  Scratch scratch(int threads) const;
  Partition before() const;
  Partition after() const;
  void operator()(const Worker& worker) const;

 private:
  bool in_parts() const;
  bool by_rows() const;
  void sum_parts(const Worker& worker) const;
};

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

// The part of it that the layers below wait for: dz, and dx unless that is null. The same bits.
struct DenseInputGradient : Kernel {
  const float* w;
  const float* saved;
  const float* dy;
  float* dz;
  float* dx;
  std::int64_t n, in, out;
  Activation activation;
  float alpha;

  std::int64_t work() const { return n * out * (dx == nullptr ? 1 : in / 5 + 1); }
  Scratch scratch(int threads) const;
  Partition before() const;
  Partition after() const { return before(); }
  void operator()(const Worker& worker) const;

 private:
  Gemm product() const;
  bool by_rows() const;
};

}  // namespace fnn::cpu
