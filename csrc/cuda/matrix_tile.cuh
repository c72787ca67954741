// A tile of C = alpha A B + beta D + diagonal I in float32, by a block, for matrices that lie in any strides: what Muon
// multiplies where many matrices of many shapes share one launch.
//
// Tiles of 64 x 64 x 16 in shared memory, 4 x 4 sums a thread.
#pragma once
#include <cstdint>

#include "cuda/fnn_cuda.h"

namespace fnn::cuda {

inline constexpr int kTile = 64, kTileDepth = 16;
inline constexpr unsigned kTileThreads = 256;

// Elements at row * rows + column * columns.
struct StridedMatrix {
  const float* data;
  std::int64_t rows, columns;
  __device__ float at(std::int64_t row, std::int64_t column) const { return data[row * rows + column * columns]; }
};

struct Product {
  std::int64_t m, n, k;
  StridedMatrix a, b;
  float* c;        // [m, n]
  const float* d;  // [m, n], or null
  float alpha, beta, diagonal;

  __host__ __device__ static std::int64_t tiles(std::int64_t m, std::int64_t n) {
    return (m + kTile - 1) / kTile * ((n + kTile - 1) / kTile);
  }
};

// A kTile x kTileDepth part of `from` that begins at (row, column), as part[depth][lane]; 0 beyond its ends.
// Neighbouring threads read neighbours in memory.
__device__ inline void load_tile(const StridedMatrix& from, std::int64_t row, std::int64_t column, std::int64_t rows,
                                 std::int64_t columns, float (&part)[kTileDepth][kTile + 4]) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kTileDepth; i += kTileThreads) {
    const int lane = from.columns == 1 ? i / kTileDepth : i % kTile;
    const int depth = from.columns == 1 ? i % kTileDepth : i / kTile;
    const bool inside = row + lane < rows && column + depth < columns;
    part[depth][lane] = inside ? from.at(row + lane, column + depth) : 0.f;
  }
}

__device__ inline void store_tile(const Product& product, std::int64_t row, std::int64_t column,
                                  const float (&sums)[4][4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t r = row + i, c = column + j, at = r * product.n + c;
      if (r >= product.m || c >= product.n) continue;
      float value = product.alpha * sums[i][j];
      if (product.d != nullptr) value += product.beta * product.d[at];
      product.c[at] = r == c ? value + product.diagonal : value;
    }
  }
}

// Tile number `tile` of product.tiles(m, n).
__device__ inline void multiply_tile(const Product& product, std::int64_t tile) {
  FNN_SHARED(float, left, [kTileDepth][kTile + 4]);
  FNN_SHARED(float, right, [kTileDepth][kTile + 4]);
  const std::int64_t across = (product.n + kTile - 1) / kTile;
  const std::int64_t row = tile / across * kTile, column = tile % across * kTile;
  const StridedMatrix b_transposed{product.b.data, product.b.columns, product.b.rows};
  const int y = static_cast<int>(threadIdx.x) / 16 * 4, x = static_cast<int>(threadIdx.x) % 16 * 4;
  float sums[4][4] = {};
  for (std::int64_t k = 0; k < product.k; k += kTileDepth) {
    load_tile(product.a, row, k, product.m, product.k, left);
    load_tile(b_transposed, column, k, product.n, product.k, right);
    __syncthreads();
#pragma unroll
    for (int depth = 0; depth < kTileDepth; ++depth) {
      const float4 a = *reinterpret_cast<const float4*>(&left[depth][y]);
      const float4 b = *reinterpret_cast<const float4*>(&right[depth][x]);
      const float of_a[4] = {a.x, a.y, a.z, a.w}, of_b[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] += of_a[i] * of_b[j];
      }
    }
    __syncthreads();
  }
  store_tile(product, row + y, column + x, sums);
}

}  // namespace fnn::cuda
