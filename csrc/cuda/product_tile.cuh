// Tiles of the operands of a matrix product in shared memory, and the loop that fetches them.
//
// An operand is a matrix over rows (of A, or columns of B) and depth (what the sums run over) that need not lie
// anywhere as a matrix: a class with
//   kAlongDepth        whether neighbours in depth (else in rows) are neighbours in memory
//   Row row(i)         what is to know about a row, and about a place in depth, beyond their ends too
//   Depth depth(int k)
//   bool present(row, depth)      whether there is an element there; else it is zero
//   const float* at(row, depth)   where it is then, else anywhere
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

// How the threads of a block share out a tile, in chunks of four elements of a line of memory.
template <class Layout, int kRows, int kThreads, int kWidth>
struct LoaderPlace {
  static constexpr int kLength = Layout::kAlongDepth ? Layout::kDepth : kRows;  // of a line
  static constexpr int kLines = Layout::kAlongDepth ? kRows : Layout::kDepth;
  static constexpr int kAcross = kLength / 4, kDown = kThreads / kAcross;  // chunks in a line, lines at once
  static constexpr int kTurns = (kLines + kDown - 1) / kDown;
  static constexpr int kParts = 4 / kWidth;
  // From one turn to the next a thread keeps its place in the line, and in what the layout exchanges.
  static_assert(kThreads % kAcross == 0 && (kDown & (kDown - 1)) == 0 && kDown % 2 == 0);

  static __device__ int chunk() { return thread_anew() % kAcross * 4; }
  static __device__ int line() { return thread_anew() / kAcross; }
  static __device__ bool beyond(int turn, int line) {
    return kDown * (turn + 1) > kLines && line + turn * kDown >= kLines;
  }
};

// One thread's part in loading the tiles of `kRows` rows of an operand, kWidth (1 or 4) elements at a time. What there
// is to know of the rows is found out once, and kept in shared memory: registers are what the sums need.
template <class Operand, class Layout, int kRows, int kThreads, int kWidth>
class TileLoader {
 public:
  using Row = typename Operand::Row;
  static constexpr int kKeptRows = kRows;

  // By all threads of a block; there is to be a barrier before the first load. rows: of kKeptRows elements, shared.
  template <class Index>
  __device__ TileLoader(const Operand& operand, Index first_row, int /*first_depth*/, Row* rows)
      : operand_(operand), rows_(rows) {
    for (int i = static_cast<int>(threadIdx.x); i < kRows; i += kThreads) rows[i] = operand.row(first_row + i);
  }

  // The tile of depth [k, k + kDepth), of which there is nothing from `end` on; tile by tile.
  __device__ void load(float* tile, int k, int /*end*/) const {
    const int along = Place::chunk(), line = Place::line();
    if constexpr (Layout::kAlongDepth) {
      float* to = tile + Layout::at(line, along);
      Depth depths[kParts];
      Row of_rows[kTurns];  // all before the first copy: between reads and copies the hardware wants a pause
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn)
        of_rows[turn] = rows_[Place::beyond(turn, line) ? 0 : line + turn * kDown];
#pragma unroll
      for (int part = 0; part < kParts; ++part) depths[part] = operand_.depth(k + along + part * kWidth);
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn) {
        if (Place::beyond(turn, line)) break;
#pragma unroll
        for (int part = 0; part < kParts; ++part)
          copy(to + Layout::at(turn * kDown, 0) + part * kWidth, of_rows[turn], depths[part]);
      }
    } else {
      float* to = tile + Layout::at(along, line);
      Row of_rows[kParts];
#pragma unroll
      for (int part = 0; part < kParts; ++part) of_rows[part] = rows_[along + part * kWidth];
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn) {
        if (Place::beyond(turn, line)) break;
        const Depth depth = operand_.depth(k + line + turn * kDown);
#pragma unroll
        for (int part = 0; part < kParts; ++part)
          copy(to + Layout::at(0, turn * kDown) + part * kWidth, of_rows[part], depth);
      }
    }
  }

 private:
  using Depth = typename Operand::Depth;
  using Place = LoaderPlace<Layout, kRows, kThreads, kWidth>;
  static constexpr int kDown = Place::kDown, kTurns = Place::kTurns, kParts = Place::kParts;

  __device__ void copy(float* to, const Row& row, const Depth& depth) const {
    copy_async<4 * kWidth>(to, operand_.at(row, depth), operand_.present(row, depth));
  }

  const Operand& operand_;
  const Row* rows_;
};

}  // namespace fnn::cuda
