// The gradients of a dense layer's weights, and the optimizer's step with them, in one.
#pragma once
#include "cpu/gemm.h"
#include "cpu/tensor_update.h"

namespace fnn::cpu {

// What DenseInputGradient (dense.h) leaves of a dense layer's backward pass, followed at once by the update: the
// gradient of a few rows of w (and of b) is written to a block of memory that stays in the first-level cache, and from
// there goes into these rows, which are then hot or will be. The gradient of all is never in memory. Bits are those of
// DenseBackward and OptimizerStep one after the other.
struct DenseUpdate : Kernel {
  const float* x;
  const float* dz;
  std::int64_t n, in, out;
  TensorUpdate w, b;

  std::int64_t work() const { return in * out * (n + 40) / 5; }
  Scratch scratch(int threads) const;
  Partition before() const { return {Partition::parameters, 0}; }
  Partition after() const { return before(); }
  void operator()(const Worker& worker) const;

 private:
  Gemm weight_gradient() const;
  Gemm part(Range rows, Range columns, float* dw) const;
};

}  // namespace fnn::cpu
