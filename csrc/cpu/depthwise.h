// Depthwise convolution of NHWC images: each channel has its own `mult` filters, output channel c*mult + m.
//
// No reduction over channels, so no matrix product: vectors run over the output channels.
#pragma once
#include "base/kernel.h"
#include "cpu/conv.h"

namespace fnn::cpu {

// Uses ConvShape with groups = c, f = c*mult; weights are [kh, kw, c, mult], that is [kh, kw, f].
struct DepthwiseForward : Kernel {
  ConvShape shape;
  const float* x;
  const float* w;
  float* y;
  Epilogue epilogue;

  std::int64_t work() const { return shape.n * shape.pixels() * shape.f * shape.kh * shape.kw; }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

struct DepthwiseBackward : ConvGradients {
  std::int64_t work() const { return 2 * shape.n * shape.pixels() * shape.f * shape.kh * shape.kw; }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
