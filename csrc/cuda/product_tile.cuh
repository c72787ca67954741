// Tiles of the operands of a matrix product in shared memory, and the loop that fetches them.
//
// An operand is a matrix over rows (of A, or columns of B) and depth (what the sums run over) that need not lie
// anywhere as a matrix: a class with
//   kAlongDepth        whether neighbours in depth (else in rows) are neighbours in memory
//   Row row(int i)     what is to know about a row, and about a place in depth, beyond their ends too
//   Depth depth(int k)
//   const float* at(row, depth)   where the element is; null for a zero
// Whoever loads elements in fours must know that the operand has them in fours, aligned.
#pragma once
#include "cuda/async_copy.cuh"
#include "cuda/product_size.h"

namespace fnn::cuda {

// threadIdx.x and blockIdx.x, read anew by every call: what is computed from them isn't kept in registers over a loop
// in which the sums need these.
__device__ inline int thread_anew() {
#ifdef __CUDACC__
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  __builtin_assume(thread >= 0 && thread < 1024);
  return thread;
#else
  return static_cast<int>(threadIdx.x);
#endif
}
__device__ inline int block_anew() {
#ifdef __CUDACC__
  int block;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
  return block;
#else
  return static_cast<int>(blockIdx.x);
#endif
}

// Where an element lies, of a tile of kDepth (16 or 32) places in depth. Along depth: rows of kDepth floats and
// kPadding more; without padding, halves of every other row of 32 are exchanged, so that 8 lanes that read 16 bytes of
// two neighbouring rows meet all 32 banks. Along rows: of each 16 lines the order is 0, 4, 8, 12, 1, 5 ..., and 8
// floats more are between them: so do lanes that read 4 lines at once, of each two times 16 bytes.
template <bool along_depth, int kRows, int depth, int kPadding>
struct TileLayout {
  static constexpr bool kAlongDepth = along_depth;
  static constexpr int kDepth = depth;
  static constexpr int kPitch = along_depth ? kDepth + kPadding : kRows + 8;
  static constexpr int kFloats = kPitch * (along_depth ? kRows : kDepth);
  static constexpr bool kExchanges = kDepth == 32 && kPadding == 0;
  static __device__ constexpr int at(int row, int k) {
    if (!along_depth) return (k / 16 * 16 + k % 4 * 4 + k % 16 / 4) * kPitch + row;
    return row * kPitch + (kExchanges ? k ^ (row % 2 * 16) : k);
  }
};

// One thread's part in loading the tiles of `kRows` rows of an operand, kWidth (1 or 4) elements at a time. What there
// is to know of the rows is found out once, and kept in shared memory: registers are what the sums need.
template <class Operand, class Layout, int kRows, int kThreads, int kWidth>
class TileLoader {
 public:
  using Row = typename Operand::Row;

  // By all threads of a block; there is to be a barrier before the first load. rows: of kRows elements, shared.
  __device__ TileLoader(const Operand& operand, int first_row, Row* rows) : operand_(operand), rows_(rows) {
    for (int i = static_cast<int>(threadIdx.x); i < kRows; i += kThreads) rows[i] = operand.row(first_row + i);
  }

  // The tile of depth [k, k + kDepth).
  __device__ void load(float* tile, int k) const {
    const int thread = thread_anew();
    if constexpr (kAlongDepth) {
      Depth depths[kParts];
      const int c = thread % kAcross * 4;
#pragma unroll
      for (int part = 0; part < kParts; ++part) depths[part] = operand_.depth(k + c + part * kWidth);
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn) {
        const int row = (thread + turn * kThreads) / kAcross;
        if (kChunks % kThreads != 0 && row >= kRows) break;
        const Row of_row = rows_[row];
#pragma unroll
        for (int part = 0; part < kParts; ++part) copy(tile + Layout::at(row, c + part * kWidth), of_row, depths[part]);
      }
    } else {
      const int row = thread % kAcross * 4;
      Row of_rows[kParts];
#pragma unroll
      for (int part = 0; part < kParts; ++part) of_rows[part] = rows_[row + part * kWidth];
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn) {
        const int line = (thread + turn * kThreads) / kAcross;
        if (kChunks % kThreads != 0 && line >= kDepth) break;
        const Depth depth = operand_.depth(k + line);
#pragma unroll
        for (int part = 0; part < kParts; ++part)
          copy(tile + Layout::at(row + part * kWidth, line), of_rows[part], depth);
      }
    }
  }

 private:
  using Depth = typename Operand::Depth;
  static constexpr bool kAlongDepth = Operand::kAlongDepth;
  static constexpr int kDepth = Layout::kDepth;
  static constexpr int kAcross = (kAlongDepth ? kDepth : kRows) / 4;  // chunks of four in a line of memory
  static constexpr int kChunks = kRows * kDepth / 4;
  static constexpr int kTurns = (kChunks + kThreads - 1) / kThreads;
  static constexpr int kParts = 4 / kWidth;
  static_assert(kThreads % kAcross == 0, "a thread must keep its place in the line");

  __device__ void copy(float* to, const Row& row, const Depth& depth) const {
    const float* from = operand_.at(row, depth);
    copy_async<4 * kWidth>(to, from != nullptr ? from : operand_.data, from != nullptr);
  }

  const Operand& operand_;
  const Row* rows_;
};

}  // namespace fnn::cuda
