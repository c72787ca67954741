// What the kernels of depthwise convolution are told. Channels of x and of y are the same where each channel has one
// filter; then a thread may take four.
#pragma once
#include "cuda/conv_operands.cuh"
#include "cuda/pack.cuh"

namespace fnn::cuda {

template <int kWidth>
struct alignas(4 * kWidth) Channels {
  float v[kWidth];

  static __device__ Channels of(const float* p) { return *reinterpret_cast<const Channels*>(p); }
  __device__ void to(float* p) const { *reinterpret_cast<Channels*>(p) = *this; }
  __device__ void add_product(const Channels& a, const Channels& b) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) v[i] = fmaf(a.v[i], b.v[i], v[i]);
  }
};

// One axis of windows: output i looks at i * stride + first + tap * step of the image.
struct DepthwiseAxis {
  int size, outputs, taps, stride, first, step;
};

}  // namespace fnn::cuda
