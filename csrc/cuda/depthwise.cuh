// What the kernels of depthwise convolution are told. Channels of x and of y are the same where each channel has one
// filter; then a thread may take four.
#pragma once
#include "cuda/channels.cuh"

namespace fnn::cuda {

// sum += a * b
template <int kWidth>
__device__ inline void add_product(Channels<float, kWidth>& sum, const Channels<float, kWidth>& a,
                                   const Channels<float, kWidth>& b) {
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sum.at[i] = fmaf(a.at[i], b.at[i], sum.at[i]);
}

// One axis of windows: output i looks at i * stride + first + tap * step of the image.
struct DepthwiseAxis {
  int size, outputs, taps, stride, first, step;
};

}  // namespace fnn::cuda
