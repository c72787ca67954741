// Sums and maxima over a warp or a block, in an order that doesn't depend on which thread comes first: no atomics, so
// that results have the same bits from run to run.
#pragma once
#include "cuda/fnn_cuda.h"
#include "math/numeric.h"

namespace fnn::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

struct Sum {
  template <class T>
  static __device__ T identity() {
    return T(0);
  }
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

// The largest; a NaN may be passed over.
struct Largest {
  template <class T>
  static __device__ T identity() {
    return -T(INFINITY);
  }
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

// Over the 32 lanes of a warp that is complete; every lane gets it.
template <class Op, class T>
__device__ inline T warp_reduce(T value, Op op) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = op(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}
template <class T>
__device__ inline T warp_sum(T value) {
  return warp_reduce(value, Sum());
}

// Over all threads of a one-dimensional block of whole warps, called by all of them; every thread gets it.
template <class Op, class T>
__device__ inline T block_reduce(T value, Op op) {
  FNN_SHARED(T, parts, [kWarp]);
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  value = warp_reduce(value, op);
  __syncthreads();  // parts may still be read from the call before
  if (lane == 0) parts[warp] = value;
  __syncthreads();
  return warp_reduce(lane < warps ? parts[lane] : Op::template identity<T>(), op);
}
template <class T>
__device__ inline T block_sum(T value) {
  return block_reduce(value, Sum());
}

}  // namespace fnn::cuda
