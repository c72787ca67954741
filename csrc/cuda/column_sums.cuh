// Two sums in float64 over the rows of a matrix for each of its columns, in a fixed order. A block has a stripe of
// columns and a part of the rows: its threads in x have neighbouring columns, those in y every so many rows. Whoever
// needs the sums adds the parts up.
#pragma once
#include <cstdint>

#include "cuda/channels.cuh"
#include "cuda/error.h"
#include "cuda/for_each.cuh"
#include "cuda/workspace.h"

namespace fnn::cuda {

// How the work is divided, and where the sums lie: parts[part][2][cols].
struct ColumnParts {
  std::int64_t rows, cols, stripe, stripes, parts;
  dim3 block;

  ColumnParts(std::int64_t rows, std::int64_t cols, int width) : rows(rows), cols(cols) {
    constexpr std::int64_t kBlocksWanted = 512, kRowsOfThread = 16;
    unsigned columns = 1;
    while (columns < 32 && columns * width < cols) columns *= 2;
    block = {columns, kThreads / columns, 1};
    stripe = std::int64_t{columns} * width;
    stripes = (cols + stripe - 1) / stripe;
    const std::int64_t useful = rows / (block.y * kRowsOfThread), room = kBlocksWanted / stripes;
    parts = useful < room ? useful : room;
    if (parts < 1) parts = 1;
  }
  std::size_t bytes() const { return static_cast<std::size_t>(parts * 2 * cols) * sizeof(double); }
};

// The sums of one column, from the parts.
struct ColumnSums {
  double first, second;

  __device__ ColumnSums(const double* parts, std::int64_t count, std::int64_t cols, std::int64_t column) {
    first = second = 0.0;
    for (std::int64_t part = 0; part < count; ++part) {
      first += parts[2 * part * cols + column];
      second += parts[(2 * part + 1) * cols + column];
    }
  }
};

template <int kWidth>
struct PairSums {
  double first[kWidth], second[kWidth];

  __device__ void add(const PairSums& other) {
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      first[k] += other.first[k];
      second[k] += other.second[k];
    }
  }
};

namespace {

// terms.add(row, column, sums) adds the terms of kWidth columns of a row.
template <int kWidth, class Terms>
__global__ void __launch_bounds__(kThreads) sum_columns(Terms terms, ColumnParts grid, double* parts) {
  FNN_SHARED(PairSums<kWidth>, all, [kThreads]);
  const unsigned mine = threadIdx.y * blockDim.x + threadIdx.x;
  for (std::int64_t unit = blockIdx.x; unit < grid.stripes * grid.parts; unit += gridDim.x) {
    const std::int64_t part = unit / grid.stripes;
    const std::int64_t column = unit % grid.stripes * grid.stripe + threadIdx.x * kWidth;
    const std::int64_t end = grid.rows * (part + 1) / grid.parts;
    PairSums<kWidth> sums = {};
    if (column < grid.cols)
#pragma unroll 4
      for (std::int64_t row = grid.rows * part / grid.parts + threadIdx.y; row < end; row += blockDim.y)
        terms.add(row, column, sums);
    __syncthreads();  // those of the stripe before may still be read
    all[mine] = sums;
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
      __syncthreads();
      if (threadIdx.y >= half) continue;
      sums.add(all[mine + half * blockDim.x]);
      all[mine] = sums;
    }
    if (threadIdx.y > 0 || column >= grid.cols) continue;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      parts[2 * part * grid.cols + column + k] = sums.first[k];
      parts[(2 * part + 1) * grid.cols + column + k] = sums.second[k];
    }
  }
}

}  // namespace

template <int kWidth, class Terms>
void run_column_sums(const Terms& terms, const ColumnParts& grid, double* parts, cudaStream_t stream) {
  FNN_CUDA_CHECK(launch(sum_columns<kWidth, Terms>, blocks_for(grid.stripes * grid.parts, 1), grid.block, 0, stream,
                        terms, grid, parts));
}

}  // namespace fnn::cuda
