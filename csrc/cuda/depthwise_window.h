// Each channel of images through windows of its own: forward pass of depthwise convolution, and of stride 1 its input
// gradient, which is the same with the windows turned.
#pragma once
#include <cstdint>

#include "cpu/epilogue.h"
#include "cuda/depthwise.cuh"
#include "cuda/run.h"

namespace fnn::cuda {

struct DepthwiseWindows {
  std::int64_t n, c, filters;  // filters of a channel
  DepthwiseAxis rows, columns;
  const float* x;
  const float* w;
  float* y;
  bool turned;  // w by 180 degrees
  cpu::Epilogue epilogue;
};
void depthwise_windows(const DepthwiseWindows& windows, cudaStream_t stream);

}  // namespace fnn::cuda
