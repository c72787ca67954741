// Elementwise loops over flat arrays: grid-stride, 16 bytes at a time where all arrays are aligned to that.
#pragma once
#include <cstdint>

#include "cuda/error.h"
#include "cuda/pack.cuh"
#include "cuda/run.h"

namespace fnn::cuda {

inline constexpr int kThreads = 256;           // of a block, where nothing else is said
inline constexpr std::int64_t kBlocks = 2048;  // enough to fill any GPU; beyond, threads take several turns

// Blocks for `items` that a thread takes one of at a time. At least one.
inline unsigned blocks_for(std::int64_t items, int threads = kThreads) {
  const std::int64_t blocks = (items + threads - 1) / threads;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks < kBlocks ? blocks : kBlocks);
}

// This thread's number among all of the grid's, and how many these are; one-dimensional.
__device__ inline std::int64_t first_index() { return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ inline std::int64_t index_stride() { return std::int64_t{gridDim.x} * blockDim.x; }

template <class F>
__global__ void for_each_kernel(std::int64_t count, F f) {
  for (std::int64_t i = first_index(); i < count; i += index_stride()) f(i);
}

// Calls f(i) for i = 0 ... count - 1. f: a functor with `__device__ void operator()(std::int64_t) const`.
template <class F>
void for_each(std::int64_t count, cudaStream_t stream, const F& f) {
  if (count > 0) FNN_CUDA_CHECK(launch(for_each_kernel<F>, blocks_for(count), kThreads, 0, stream, count, f));
}

template <class F, class... P>
__device__ inline Pack apply(const F& f, const P&... packs) {
  Pack result;
#pragma unroll
  for (int i = 0; i < kPack; ++i) result.v[i] = f(packs.v[i]...);
  return result;
}

template <class F, class... X>
__global__ void map_kernel(std::int64_t count, bool whole, float* y, F f, const X*... x) {
  const std::int64_t packs = (count + kPack - 1) / kPack;
  for (std::int64_t i = first_index(); i < packs; i += index_stride()) {
    const std::int64_t at = i * kPack;
    store_pack(y + at, apply(f, load_pack(x + at, count - at, whole)...), count - at, whole);
  }
}

// y[i] = f(x[i] ...); y may be one of the x. f: a functor with `__device__ float operator()(float ...) const`.
template <class F, class... X>
void map(std::int64_t count, cudaStream_t stream, float* y, const F& f, const X*... x) {
  if (count == 0) return;
  const unsigned blocks = blocks_for((count + kPack - 1) / kPack);
  FNN_CUDA_CHECK(launch(map_kernel<F, X...>, blocks, kThreads, 0, stream, count, aligned(y, x...), y, f, x...));
}

}  // namespace fnn::cuda
