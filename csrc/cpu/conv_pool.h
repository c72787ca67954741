// Convolution and max pooling as one layer: y = maxpool(act(conv(x) + b)), act being linear or relu.
//
// What lies between the two exists for a few images at a time and stays in cache: the convolution's output is never
// stored, nor its gradient. relu's derivative is taken of the pooled values: a window's maximum is above 0 where the
// pixel that sends it is.
#pragma once
#include "cpu/conv.h"
#include "cpu/pool.h"

namespace fnn::cpu {

struct ConvPoolForward : Kernel {
  ConvForward conv;     // its y and z aren't used
  MaxPoolForward pool;  // nor its x

  std::int64_t work() const { return conv.work(); }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

struct ConvPoolBackward : Kernel {
  ConvGradients conv;    // its saved, dy and dz aren't used
  MaxPoolBackward pool;  // nor its dx; dy is the gradient for the pooled y
  const float* y;        // pooled

  std::int64_t work() const { return conv.work(); }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
