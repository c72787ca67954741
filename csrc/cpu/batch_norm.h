// Batch normalization over the last axis: x [rows, channels], every array of parameters [channels].
#pragma once
#include <cstdint>

#include "base/kernel.h"

namespace fnn::cpu {

// In training: y = (x - mean) gamma inv_std + beta with mean and variance of each channel over the rows, and
//   moving_mean     = momentum moving_mean     + (1 - momentum) mean
//   moving_variance = momentum moving_variance + (1 - momentum) variance    (of the batch: divided by rows)
// gamma null: 1; beta null: 0. mean and inv_std = 1 / sqrt(variance + eps) are kept for the backward pass.
struct BatchNormForward : Kernel {
  const float* x;
  const float* gamma;
  const float* beta;
  float* y;
  float* mean;
  float* inv_std;
  float* moving_mean;
  float* moving_variance;
  std::int64_t rows, channels;
  double momentum, eps;

  std::int64_t work() const { return rows * channels; }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

// With given statistics: y = (x - mean) gamma / sqrt(variance + eps) + beta; mean null: 0. y may be x.
struct BatchNormInference : Kernel {
  const float* x;
  const float* gamma;
  const float* beta;
  const float* mean;
  const float* variance;
  float* y;
  std::int64_t rows, channels;
  double eps;

  std::int64_t work() const { return rows * channels / 2; }
  Scratch scratch(int threads) const;
  Partition before() const { return {Partition::rows, rows}; }
  Partition after() const { return before(); }
  void operator()(const Worker& worker) const;
};

// dx as in math/normalization.h, dgamma (+)= sum of dy x^, dbeta (+)= sum of dy. Any of dgamma, dbeta, dx may be null;
// dx may be dy.
struct BatchNormBackward : Kernel {
  const float* x;
  const float* gamma;
  const float* mean;
  const float* inv_std;
  const float* dy;
  float* dgamma;
  float* dbeta;
  float* dx;
  std::int64_t rows, channels;
  Flag accumulate;

  std::int64_t work() const { return 2 * rows * channels; }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
