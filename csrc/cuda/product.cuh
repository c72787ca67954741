// A matrix product whose operands are fetched from anywhere: the kernel around product_ffma.cuh and
// product_tensor_cores.cuh.
//
// A block computes a tile of C. Tiles of A and B come through a ring of stages in shared memory, filled by asynchronous
// copies while the ones before are multiplied; there is one barrier for each. The finished tile goes through shared
// memory once more, so that what happens to it at the end happens to neighbours in a row, whatever thread had the sum.
//
// A problem is a class with
//   A, B                the types of its operands; kWidth: elements that are loaded and stored at once, 4 or 1
//   part(int)           of its products, which are independent: {A a; B b; int rows, columns, begin, end},
//                       the sums being over depth from begin to end
//   output_of(part)     what becomes of a sum: a class with finish(int row, int column, const float* sums) of kWidth
#pragma once
#include <climits>

#include "cuda/device.h"
#include "cuda/error.h"
#include "cuda/product_size.h"
#include "cuda/product_tile.cuh"

namespace fnn::cuda {

template <class Core>
struct ProductMemory {
  static constexpr int kStage = Core::LayoutA::kFloats + Core::LayoutB::kFloats;
  static constexpr int kPitch = Core::kColumns + 4;  // of the finished tile
  static constexpr int kTile = Core::kRows * kPitch;
  static constexpr int kRing = Core::kStages * kStage;
  static constexpr int kBytes = (kRing > kTile ? kRing : kTile) * static_cast<int>(sizeof(float));
};

// Bytes of shared memory that a block takes at most, of which the kernel declares those beside ProductMemory itself.
template <class Problem, class Core>
inline constexpr int kBlockMemory =
    ProductMemory<Core>::kBytes + Core::kRows * static_cast<int>(sizeof(typename Problem::A::Row)) +
    Core::kColumns * static_cast<int>(sizeof(typename Problem::B::Row)) + Core::kOwnShared;

// Whether the current GPU has as much.
template <class Problem, class Core>
bool fits() {
  return kBlockMemory<Problem, Core> <= shared_memory_limit();
}

// Calls core.multiply for all tiles of depth.
template <class Core, int kWidth, class A, class B>
__device__ void multiply_tiles(Core& core, float* ring, const A& a, const B& b, int row, int column, int begin,
                               int end) {
  using Memory = ProductMemory<Core>;
  constexpr int kStages = Core::kStages, kDepth = Core::LayoutA::kDepth;
  using LoaderA = TileLoader<A, typename Core::LayoutA, Core::kRows, Core::kThreads, kWidth>;
  using LoaderB = TileLoader<B, typename Core::LayoutB, Core::kColumns, Core::kThreads, kWidth>;
  FNN_SHARED(typename LoaderA::Row, rows_of_a, [Core::kRows]);
  FNN_SHARED(typename LoaderB::Row, rows_of_b, [Core::kColumns]);
  const LoaderA load_a(a, row, rows_of_a);
  const LoaderB load_b(b, column, rows_of_b);
  __syncthreads();
  const auto stage = [&](int k) { return ring + k / kDepth % kStages * Memory::kStage; };
  const auto fetch = [&](int k) {
    if (k < end) {
      load_a.load(stage(k), k);
      load_b.load(stage(k) + Core::LayoutA::kFloats, k);
    }
    end_copy_group();  // even if empty: so that one more group is one more tile
  };
  constexpr int kAhead = (kStages - 1) * kDepth;
  for (int k = 0; k < kAhead; k += kDepth) fetch(begin + k);
#pragma unroll 1
  for (int k = begin; k < end; k += kDepth) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // the tile is there, and nobody reads the one before any more, whose stage is filled now
    fetch(k + kAhead);
    core.multiply(stage(k), stage(k) + Core::LayoutA::kFloats);
  }
}

template <class Core, int kWidth, class Output>
__device__ void finish_tile(const Core& core, float* tile, const Output& output, int row, int column, int rows,
                            int columns) {
  constexpr int kPitch = ProductMemory<Core>::kPitch, kAcross = Core::kColumns / kWidth;
  wait_for_copies<0>();
  __syncthreads();  // the ring is free
  core.for_each([&](int r, int c, float sum) { tile[r * kPitch + c] = sum; });
  __syncthreads();
#pragma unroll 1
  for (int item = static_cast<int>(threadIdx.x); item < Core::kRows * kAcross; item += Core::kThreads) {
    const int r = item / kAcross, c = item % kAcross * kWidth;
    if (row + r < rows && column + c < columns) output.finish(row + r, column + c, tile + r * kPitch + c);
  }
}

// Block: (part, tile of rows, tile of columns), the last running fastest.
template <class Core>
struct BlockPlace {
  int part, row, column;

  __device__ BlockPlace(int block, int row_tiles, int column_tiles) {
    const int tile = block / column_tiles;
    part = tile / row_tiles;
    row = (tile - part * row_tiles) * Core::kRows;
    column = (block - tile * column_tiles) * Core::kColumns;
  }
};

// The same pointer, as one number to the compiler: it would rather add up the parts of it anew for each copy.
__device__ inline const float* whole_address(const float* p) {
#ifdef __CUDACC__
  asm("" : "+l"(p));
#endif
  return p;
}

template <class Problem, class Core>
__global__ void __launch_bounds__(Core::kThreads, Core::kBlocks)
    product_kernel(const __grid_constant__ Problem problem, int row_tiles, int column_tiles) {
  FNN_DYN_SHARED(float, shared);
  Core core;
  {
    const BlockPlace<Core> place(block_anew(), row_tiles, column_tiles);
    auto part = problem.part(place.part);
    part.a.data = whole_address(part.a.data);
    part.b.data = whole_address(part.b.data);
    if (place.row >= part.rows) return;  // the tallest part says how many tiles there are
    multiply_tiles<Core, Problem::kWidth>(core, shared, part.a, part.b, place.row, place.column, part.begin, part.end);
  }
  const BlockPlace<Core> place(block_anew(), row_tiles, column_tiles);
  const auto part = problem.part(place.part);
  finish_tile<Core, Problem::kWidth>(core, shared, problem.output_of(place.part), place.row, place.column, part.rows,
                                     part.columns);
}

template <class Core, class Problem>
void launch_product(const Problem& problem, const ProductSize& size, cudaStream_t stream) {
  const long long blocks = size.tiles(Core::kRows, Core::kColumns);
  if (blocks == 0) return;
  FNN_CHECK(blocks <= INT_MAX, "a product of too many tiles for one launch");
  constexpr int kBytes = ProductMemory<Core>::kBytes;
  void (*kernel)(const Problem, int, int) = product_kernel<Problem, Core>;
  if (kBytes > 48 * 1024)
    FNN_CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  FNN_CUDA_CHECK(launch(kernel, static_cast<unsigned>(blocks), Core::kThreads, kBytes, stream, problem,
                        size.row_tiles(Core::kRows), size.column_tiles(Core::kColumns)));
}

}  // namespace fnn::cuda
