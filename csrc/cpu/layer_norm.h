// Layer normalization over the last axis: x [rows, features]; gamma, beta [features]; mean, inv_std [rows].
#pragma once
#include <cstdint>

#include "base/kernel.h"

namespace fnn::cpu {

// y = (x - mean) gamma inv_std + beta with mean and variance of each row. gamma null: 1; beta null: 0. mean and
// inv_std = 1 / sqrt(variance + eps) are kept for the backward pass unless they are null.
struct LayerNormForward : Kernel {
  const float* x;
  const float* gamma;
  const float* beta;
  float* y;
  float* mean;
  float* inv_std;
  std::int64_t rows, features;
  double eps;

  std::int64_t work() const { return rows * features; }
  Partition before() const { return {Partition::rows, rows}; }
  Partition after() const { return before(); }
  void operator()(const Worker& worker) const;
};

// dx as in math/normalization.h, dgamma (+)= sum over rows of dy x^, dbeta (+)= sum of dy. Any of dgamma, dbeta, dx may
// be null; dx may be dy.
struct LayerNormBackward : Kernel {
  const float* x;
  const float* gamma;
  const float* mean;
  const float* inv_std;
  const float* dy;
  float* dgamma;
  float* dbeta;
  float* dx;
  std::int64_t rows, features;
  Flag accumulate;

  std::int64_t work() const { return 2 * rows * features; }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
