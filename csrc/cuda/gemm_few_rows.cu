// Few rows times a matrix in float32, such as a layer's output at batch 1: bound by the reading of B [k, n], once, in
// packs, whose lines a warp reads whole. The warps of a block take turns along the sums and add up theirs in order.
#include "cuda/error.h"
#include "cuda/gemm_task.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kAhead = 4;  // packs of B that a thread has on their way at a time

// A's element [row, depth] lies at row * row_step + depth * depth_step.
struct Rows {
  const float* data;
  int64_t row_step, depth_step;
};

template <int kRows>
struct Sums {
  Pack v[kRows] = {};

  __device__ void add(const Rows& a, int64_t rows, int64_t depth, const Pack& b) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float factor = r < rows ? a.data[r * a.row_step + depth * a.depth_step] : 0.f;
#pragma unroll
      for (int i = 0; i < kPack; ++i) v[r].v[i] += factor * b.v[i];
    }
  }
};

template <int kRows>
__global__ void __launch_bounds__(kThreads)
    multiply_few_rows(const __grid_constant__ GemmTask task, const __grid_constant__ Rows a) {
  FNN_SHARED(Pack, shared, [kWarps][kRows][32]);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t column = (int64_t{blockIdx.x} * 32 + lane) * kPack, left = task.out.n - column, ld = task.b.ld;
  const Depth depth = depth_of_block(task);
  const float* b = task.b.data + column;
  Sums<kRows> sums;
  int64_t k = depth.begin + warp;
  for (; k + (kAhead - 1) * kWarps < depth.end; k += kAhead * kWarps) {
    Pack packs[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) packs[i] = load_pack(b + (k + i * kWarps) * ld, left, task.b.whole);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) sums.add(a, task.out.m, k + i * kWarps, packs[i]);
  }
  for (; k < depth.end; k += kWarps) sums.add(a, task.out.m, k, load_pack(b + k * ld, left, task.b.whole));
#pragma unroll
  for (int r = 0; r < kRows; ++r) shared[warp][r][lane] = sums.v[r];
  __syncthreads();
  const GemmOutput out = output_of_block(task);
  with_activation(out.epilogue.activation, out.epilogue.alpha, [&](auto f) {
    for (int row = warp; row < kRows && row < out.m; row += kWarps) {
      Pack sum = {};
      for (const auto& part : shared)
        for (int i = 0; i < kPack; ++i) sum.v[i] += part[row][lane].v[i];
      if (left > 0) finish(out, f, sum, row, column);
    }
  });
}

}  // namespace

void launch_few_rows(const GemmTask& task, int splits, bool along_a, cudaStream_t stream) {
  const Rows rows = {task.a.data, along_a ? task.a.ld : 1, along_a ? 1 : task.a.ld};
  const dim3 grid(static_cast<unsigned>((task.out.n + 32 * kPack - 1) / (32 * kPack)), static_cast<unsigned>(splits));
  const auto kernel = task.out.m == 1   ? multiply_few_rows<1>
                      : task.out.m == 2 ? multiply_few_rows<2>
                      : task.out.m <= 4 ? multiply_few_rows<4>
                                        : multiply_few_rows<kMostFewRows>;
  FNN_CUDA_CHECK(launch(kernel, grid, kThreads, 0, stream, task, rows));
}

}  // namespace fnn::cuda
