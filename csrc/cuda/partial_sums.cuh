// Sums in float64 over all threads of a grid, in a fixed order: each block leaves its own, and one more block adds
// these up. A grid of a single block is done at once.
#pragma once
#include <cstdint>

#include "cuda/error.h"
#include "cuda/reduce.cuh"
#include "cuda/workspace.h"

namespace fnn::cuda {

inline constexpr unsigned kSumBlocks = 1024;  // at most: what the last block has to add up
inline constexpr int kSumThreads = 256;

// Blocks for `items` of which a block takes `items_of_block` at a time. At least one; and one alone where it needs few
// turns: the sums of several would take one more launch.
inline unsigned sum_blocks(std::int64_t items, std::int64_t items_of_block = kSumThreads, std::int64_t few_turns = 4) {
  const std::int64_t blocks = (items + items_of_block - 1) / items_of_block;
  return static_cast<unsigned>(blocks <= few_turns ? 1 : blocks < kSumBlocks ? blocks : kSumBlocks);
}

// Where the sums go: totals[k] += sum k. Null totals are left out.
template <int kCount>
struct Totals {
  double* total[kCount];
};

// The end of a kernel whose blocks are one-dimensional: every thread brings its sums.
template <int kCount>
__device__ inline void leave_sums(const double (&mine)[kCount], const Totals<kCount>& totals, double* parts) {
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    const double sum = block_sum(mine[k]);
    if (threadIdx.x != 0) continue;
    if (gridDim.x > 1) {
      parts[blockIdx.x * kCount + k] = sum;
    } else if (totals.total[k] != nullptr) {
      *totals.total[k] += sum;
    }
  }
}

namespace {

template <int kCount>
__global__ void __launch_bounds__(kSumThreads)
    add_partial_sums(Totals<kCount> totals, const double* parts, unsigned blocks) {
  double sums[kCount] = {};
  for (unsigned b = threadIdx.x; b < blocks; b += kSumThreads)
    for (int k = 0; k < kCount; ++k) sums[k] += parts[b * kCount + k];
  leave_sums<kCount>(sums, totals, nullptr);
}

}  // namespace

// Runs a kernel that ends with leave_sums: start(parts) launches it with `blocks` blocks.
template <int kCount, class Start>
void run_summing(unsigned blocks, const Totals<kCount>& totals, cudaStream_t stream, const Start& start) {
  const Workspace parts(blocks > 1 ? blocks * kCount * sizeof(double) : 0, stream);
  start(parts.as<double>());
  if (blocks > 1)
    FNN_CUDA_CHECK(launch(add_partial_sums<kCount>, 1, kSumThreads, 0, stream, totals, parts.as<double>(), blocks));
}

}  // namespace fnn::cuda
