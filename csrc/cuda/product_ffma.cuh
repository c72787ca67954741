// A block's tile of a matrix product by fused multiply-add of float32: each thread holds a rectangle of it in
// registers.
#pragma once
#include "cuda/product_tile.cuh"

namespace fnn::cuda {

// kRows x kColumns of C; 256 threads with 8x8, 8x4 or 4x4 each. Every sum is taken in the order of depth.
template <int rows, int columns, class OperandA, class OperandB>
class FfmaTile {
 public:
  static constexpr int kRows = rows, kColumns = columns, kThreads = 256;
  // 4 floats between rows along depth: 8 threads that read 8 neighbouring rows meet all banks.
  using LayoutA = TileLayout<OperandA::kAlongDepth, rows, 4>;
  using LayoutB = TileLayout<OperandB::kAlongDepth, columns, 4>;
  static constexpr int kStages = 3;

  // C += A B over one tile of depth.
  __device__ void multiply(const float* a, const float* b) {
#pragma unroll 2
    for (int k = 0; k < kTileDepth; k += kStep) {
      float left[kHeight][kStep], right[kWidth][kStep];
      read<LayoutA, kThreadRows>(a, k, thread_row(), left);
      read<LayoutB, kThreadColumns>(b, k, thread_column(), right);
#pragma unroll
      for (int step = 0; step < kStep; ++step)
#pragma unroll
        for (int i = 0; i < kHeight; ++i)
#pragma unroll
          for (int j = 0; j < kWidth; ++j) sums_[i][j] = fmaf(left[i][step], right[j][step], sums_[i][j]);
    }
  }

  // Calls visit(row, column, sum) for this thread's elements.
  template <class Visit>
  __device__ void for_each(const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < kHeight; ++i)
#pragma unroll
      for (int j = 0; j < kWidth; ++j)
        visit(place<LayoutA, kThreadRows>(thread_row(), i), place<LayoutB, kThreadColumns>(thread_column(), j),
              sums_[i][j]);
  }

 private:
  static constexpr int kThreadColumns = columns >= 64 ? 16 : 8, kThreadRows = kThreads / kThreadColumns;
  static constexpr int kHeight = rows / kThreadRows, kWidth = columns / kThreadColumns;
  static constexpr int kStep = 2;  // places in depth that are in registers at a time
  static_assert(kHeight % 4 == 0 && kWidth % 4 == 0);

  // A warp is 4 x 8 threads.
  static constexpr int kWarpsAcross = kThreadColumns / 8;
  static __device__ int thread_row() {
    const int t = static_cast<int>(threadIdx.x);
    return t % 32 / 8 + t / 32 / kWarpsAcross * 4;
  }
  static __device__ int thread_column() {
    const int t = static_cast<int>(threadIdx.x);
    return t % 8 + t / 32 % kWarpsAcross * 8;
  }

  // Row (or column) `i` of those of a thread: what threads of a warp read at once lies side by side.
  template <class Layout, int kAcross>
  static __device__ int place(int thread, int i) {
    return Layout::kAlongDepth ? thread + i * kAcross : i / 4 * (4 * kAcross) + thread * 4 + i % 4;
  }

  template <class Layout, int kAcross, int kCount>
  static __device__ void read(const float* tile, int k, int thread, float (&values)[kCount][kStep]) {
    if constexpr (Layout::kAlongDepth) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float2 pair = *reinterpret_cast<const float2*>(tile + Layout::at(place<Layout, kAcross>(thread, i), k));
        values[i][0] = pair.x;
        values[i][1] = pair.y;
      }
    } else {
#pragma unroll
      for (int step = 0; step < kStep; ++step)
#pragma unroll
        for (int i = 0; i < kCount; i += 4) {
          const float* from = tile + Layout::at(place<Layout, kAcross>(thread, i), k + step);
          const float4 four = *reinterpret_cast<const float4*>(from);
          values[i][step] = four.x;
          values[i + 1][step] = four.y;
          values[i + 2][step] = four.z;
          values[i + 3][step] = four.w;
        }
    }
  }

  float sums_[kHeight][kWidth] = {};
};

}  // namespace fnn::cuda
