// A block's tile of a matrix product by fused multiply-add of float32: each thread holds a rectangle of it in
// registers.
#pragma once
#include "cuda/product_tile.cuh"

namespace fnn::cuda {

// kRows x kColumns of C; a thread has 8x8, 8x4 or 4x4. Every sum is taken in the order of depth.
template <int rows, int columns, int stages, class OperandA, class OperandB>
class FfmaTile {
 public:
  static constexpr int kRows = rows, kColumns = columns;
  static constexpr int kThreads = rows * columns >= 64 * 64 ? 256 : rows * columns / 16;
  static constexpr int kBlocks = 512 / kThreads;  // on a multiprocessor at once
  // 4 floats between rows along depth: 8 threads that read 8 neighbouring rows meet all banks.
  using LayoutA = TileLayout<OperandA::kAlongDepth, rows, 16, 4>;
  using LayoutB = TileLayout<OperandB::kAlongDepth, columns, 16, 4>;
  static constexpr int kStages = stages;
  static constexpr int kOwnShared = 0;

  // C += A B over one tile of depth.
  __device__ void multiply(const float* a, const float* b) {
#pragma unroll kUnrolled
    for (int k = 0; k < LayoutA::kDepth; k += 2) {
      Fragment<LayoutA, kThreadRows, kHeight> left;
      Fragment<LayoutB, kThreadColumns, kWidth> right;
      left.begin(a, k, thread_row());
      right.begin(b, k, thread_column());
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        left.read(a, k + step, thread_row());
        right.read(b, k + step, thread_column());
#pragma unroll
        for (int i = 0; i < kHeight; ++i)
#pragma unroll
          for (int j = 0; j < kWidth; ++j) sums_[i][j] = fmaf(left.at(i, step), right.at(j, step), sums_[i][j]);
      }
    }
  }

  // Calls visit(row in the slab, column, sum) for this thread's elements of a slab of rows.
  template <int slab, class Visit>
  __device__ void for_each(const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < kWidth; ++j)
        visit(place<LayoutA, kThreadRows>(thread_row(), i), place<LayoutB, kThreadColumns>(thread_column(), j),
              sums_[slab * 4 + i][j]);
  }

 private:
  static constexpr int kThreadColumns = columns >= 64 ? 16 : 8, kThreadRows = kThreads / kThreadColumns;
  static constexpr int kHeight = rows / kThreadRows, kWidth = columns / kThreadColumns;

 public:
  // Four rows of each thread.
  static constexpr int kSlabs = kHeight / 4, kSlabRows = rows / kSlabs;

 private:
  // Where both fragments come in pairs, more of them at a time than fit into registers.
  static constexpr int kUnrolled = LayoutA::kAlongDepth && LayoutB::kAlongDepth ? 2 : LayoutA::kDepth / 2;
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

  // A thread's rows of A, or columns of B: along depth two places of each at a time, along rows all at one place.
  template <class Layout, int kAcross, int kCount>
  struct Fragment {
    static constexpr int kPlaces = Layout::kAlongDepth ? 2 : 1;
    float values[kCount][kPlaces];

    __device__ float at(int i, int step) const { return values[i][step % kPlaces]; }

    __device__ void begin(const float* tile, int k, int thread) {
      if constexpr (Layout::kAlongDepth) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          const float2 pair = *reinterpret_cast<const float2*>(tile + Layout::at(place<Layout, kAcross>(thread, i), k));
          values[i][0] = pair.x;
          values[i][1] = pair.y;
        }
      }
    }

    __device__ void read(const float* tile, int k, int thread) {
      if constexpr (!Layout::kAlongDepth) {
#pragma unroll
        for (int i = 0; i < kCount; i += 4) {
          const float* from = tile + Layout::at(place<Layout, kAcross>(thread, i), k);
          const float4 four = *reinterpret_cast<const float4*>(from);
          values[i][0] = four.x;
          values[i + 1][0] = four.y;
          values[i + 2][0] = four.z;
          values[i + 3][0] = four.w;
        }
      }
    }
  };

  float sums_[kHeight][kWidth] = {};
};

}  // namespace fnn::cuda
