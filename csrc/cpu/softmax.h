// Softmax over the rows of a matrix.
#pragma once
#include <cstdint>

#include "base/kernel.h"

namespace fnn::cpu {

// y[r,c] = exp(x[r,c] - max_c x[r]) / sum_c exp(x[r,c] - max_c x[r]); y may be x.
struct SoftmaxForward : Kernel {
  const float* x;
  float* y;
  std::int64_t rows, cols;

  std::int64_t work() const { return 4 * rows * cols; }
  Partition before() const { return {Partition::rows, rows}; }
  Partition after() const { return before(); }
  void operator()(const Worker& worker) const;
};

// dx[r,c] = y[r,c] (dy[r,c] - sum_c y[r,c] dy[r,c]); dx may be dy.
struct SoftmaxBackward : Kernel {
  const float* y;
  const float* dy;
  float* dx;
  std::int64_t rows, cols;

  std::int64_t work() const { return 2 * rows * cols; }
  Partition before() const { return {Partition::rows, rows}; }
  Partition after() const { return before(); }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
