// Few rows times a matrix in float32, such as a layer's output at batch 1: bound by the reading of B [k, n], once, in
// packs, whose lines a warp reads whole. The warps of a block take turns along the sums and add up theirs in order.
#include "cuda/error.h"
#include "cuda/gemm_task.h"
#include "cuda/pack.cuh"

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

// B, in whose lines packs may be read where their place is a multiple of 4, if `whole`.
struct Lines {
  const float* data;
  int64_t columns, line;
  bool whole;
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

template <int kRows, int kWidth>
__global__ void __launch_bounds__(kThreads)
    multiply_few_rows(const __grid_constant__ Rows a, const __grid_constant__ Lines b, int64_t rows, int64_t k,
                      int64_t part, const __grid_constant__ ActivatedOutput output) {
  FNN_SHARED(Pack, shared, [kWarps][kRows][32]);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t column = (int64_t{blockIdx.x} * 32 + lane) * kPack, left = b.columns - column;
  const int64_t begin = blockIdx.y * part, end = begin + part < k ? begin + part : k;
  Sums<kRows> sums;
  int64_t depth = begin + warp;
  for (; depth + (kAhead - 1) * kWarps < end; depth += kAhead * kWarps) {
    Pack packs[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      packs[i] = load_pack(b.data + (depth + i * kWarps) * b.line + column, left, b.whole);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) sums.add(a, rows, depth + i * kWarps, packs[i]);
  }
  for (; depth < end; depth += kWarps)
    sums.add(a, rows, depth, load_pack(b.data + depth * b.line + column, left, b.whole));
#pragma unroll
  for (int r = 0; r < kRows; ++r) shared[warp][r][lane] = sums.v[r];
  __syncthreads();
  ActivatedOutput of_part = output;
  of_part.c += blockIdx.y * rows * output.line;
  for (int row = warp; row < kRows && row < rows; row += kWarps) {
    Pack sum = {};
    for (const auto& warps_part : shared)
      for (int i = 0; i < kPack; ++i) sum.v[i] += warps_part[row][lane].v[i];
#pragma unroll
    for (int i = 0; i < kPack; i += kWidth)
      if (i < left) of_part.finish<kWidth>(row, column + i, sum.v + i);
  }
}

template <int kWidth>
void launch_width(const GemmTask& task, cudaStream_t stream) {
  const cpu::Gemm& g = task.gemm;
  const Rows a = {g.a, g.a_transposed ? 1 : g.lda, g.a_transposed ? g.lda : 1};
  const Lines b = {g.b, g.n, g.ldb, aligned(g.b) && g.ldb % kPack == 0};
  const dim3 grid(static_cast<unsigned>((g.n + 32 * kPack - 1) / (32 * kPack)), static_cast<unsigned>(task.parts));
  const auto kernel = g.m == 1   ? multiply_few_rows<1, kWidth>
                      : g.m == 2 ? multiply_few_rows<2, kWidth>
                      : g.m <= 4 ? multiply_few_rows<4, kWidth>
                                 : multiply_few_rows<kMostFewRows, kWidth>;
  FNN_CUDA_CHECK(launch(kernel, grid, kThreads, 0, stream, a, b, g.m, g.k, task.depth, task.output()));
}

}  // namespace

void launch_few_rows(const GemmTask& task, cudaStream_t stream) {
  task.output_in_fours() ? launch_width<4>(task, stream) : launch_width<1>(task, stream);
}

}  // namespace fnn::cuda
