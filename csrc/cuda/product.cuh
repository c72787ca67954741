// A matrix product whose operands are fetched from anywhere: the kernel around product_ffma.cuh and
// product_tensor_cores.cuh.
//
// A block computes a tile of C. Tiles of A and B come through a ring of stages in shared memory, filled by asynchronous
// copies while the ones before are multiplied; there is one barrier for each. The finished tile goes through shared
// memory once more, in one or two slabs of its rows, so that what happens to it at the end happens to neighbours in a
// row, whatever thread had the sum.
//
// A problem is a class with
//   A, B                the types of its operands
//   kWidth              elements that are loaded and stored at once, 4 or 1
//   kBand               rows of tiles that are worked on side by side
//   part(int)           of its products, which are independent: a ProductPart
//   output_of(part)     what becomes of a sum: a class with finish<kWidth>(row, column, const float* sums)
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
  static constexpr int kTile = Core::kSlabRows * kPitch;
  static constexpr int kRing = Core::kStages * kStage;
  static constexpr int kBytes = (kRing > kTile ? kRing : kTile) * static_cast<int>(sizeof(float));
};

template <class Core, class A, int kWidth>
using LoaderA = TileLoader<A, typename Core::LayoutA, Core::kRows, Core::kThreads, kWidth>;
template <class Core, class B, int kWidth>
using LoaderB = TileLoader<B, typename Core::LayoutB, Core::kColumns, Core::kThreads, kWidth>;
template <class Loader>
inline constexpr int kLoaderMemory = Loader::kKeptRows * static_cast<int>(sizeof(typename Loader::Row));

// Bytes of shared memory that a block takes at most, of which the kernel declares those beside ProductMemory itself.
template <class Problem, class Core>
inline constexpr int kBlockMemory = ProductMemory<Core>::kBytes + Core::kOwnShared +
                                    kLoaderMemory<LoaderA<Core, typename Problem::A, Problem::kWidth>> +
                                    kLoaderMemory<LoaderB<Core, typename Problem::B, Problem::kWidth>>;

// Whether the current GPU has as much.
template <class Problem, class Core>
bool fits() {
  return kBlockMemory<Problem, Core> <= shared_memory_limit();
}

// Calls core.multiply for all tiles of depth.
template <class Core, int kWidth, class OperandA, class OperandB, class Index>
__device__ void multiply_tiles(Core& core, float* ring, const OperandA& a, const OperandB& b, Index row, Index column,
                               int begin, int end) {
  using Memory = ProductMemory<Core>;
  constexpr int kStages = Core::kStages, kDepth = Core::LayoutA::kDepth;
  using A = LoaderA<Core, OperandA, kWidth>;
  using B = LoaderB<Core, OperandB, kWidth>;
  FNN_SHARED(typename A::Row, rows_of_a, [A::kKeptRows]);
  FNN_SHARED(typename B::Row, rows_of_b, [B::kKeptRows]);
  A load_a(a, row, begin, rows_of_a);
  B load_b(b, column, begin, rows_of_b);
  __syncthreads();
  const auto stage = [&](int k) { return ring + k / kDepth % kStages * Memory::kStage; };
  const auto fetch = [&](int k) {
    if (k < end) {
      load_a.load(stage(k), k, end);
      load_b.load(stage(k) + Core::LayoutA::kFloats, k, end);
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

template <class Core, int kWidth, class Output, class Index>
__device__ void finish_tile(const Core& core, float* tile, const Output& output, Index row, Index column, Index rows,
                            Index columns) {
  constexpr int kPitch = ProductMemory<Core>::kPitch, kAcross = Core::kColumns / kWidth;
  const auto put = [&](int r, int c, float sum) { tile[r * kPitch + c] = sum; };
  wait_for_copies<0>();
#pragma unroll 1
  for (int slab = 0; slab < Core::kSlabs; ++slab) {
    __syncthreads();  // the ring, or the slab before, is free
    static_assert(Core::kSlabs <= 2);
    if (slab == 0)
      core.template for_each<0>(put);
    else
      core.template for_each<Core::kSlabs - 1>(put);
    __syncthreads();
#pragma unroll 1
    for (int item = static_cast<int>(threadIdx.x); item < Core::kSlabRows * kAcross; item += Core::kThreads) {
      const int in_slab = item / kAcross, c = item % kAcross * kWidth, r = slab * Core::kSlabRows + in_slab;
      if (row + r < rows && column + c < columns)
        output.template finish<kWidth>(row + r, column + c, tile + in_slab * kPitch + c);
    }
  }
}

// Block: (part, tile), the first running slowest; of the tiles, bands of kBand rows of them one after the other, and in
// a band the row running fastest, so that blocks which run at the same time share rows of A and columns of B.
template <class Core, int kBand, class Index>
struct BlockPlace {
  int part;
  Index row, column;

  __device__ BlockPlace(int block, int row_tiles, int column_tiles) {
    const int line = block / column_tiles;
    part = line / row_tiles;
    int of_row = line - part * row_tiles, of_column = block - line * column_tiles;
    if constexpr (kBand > 1) {
      const int tile = of_row * column_tiles + of_column, first = tile / (kBand * column_tiles) * kBand;
      const int height = row_tiles - first < kBand ? row_tiles - first : kBand, place = tile - first * column_tiles;
      of_column = place / height;
      of_row = first + place - of_column * height;
    }
    row = Index{of_row} * Core::kRows;
    column = Index{of_column} * Core::kColumns;
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
  using Place = BlockPlace<Core, Problem::kBand, decltype(problem.part(0).rows)>;
  FNN_DYN_SHARED(float, shared);
  Core core;
  {
    const Place place(block_anew(), row_tiles, column_tiles);
    auto part = problem.part(place.part);
    part.a.data = whole_address(part.a.data);
    part.b.data = whole_address(part.b.data);
    if (place.row >= part.rows) return;  // the tallest part says how many tiles there are
    multiply_tiles<Core, Problem::kWidth>(core, shared, part.a, part.b, place.row, place.column, part.begin, part.end);
  }
  const Place place(block_anew(), row_tiles, column_tiles);
  const auto part = problem.part(place.part);
  finish_tile<Core, Problem::kWidth>(core, shared, problem.output_of(place.part), place.row, place.column, part.rows,
                                     part.columns);
}

template <class Core, class Problem>
void launch_product(const Problem& problem, const ProductSize& size, cudaStream_t stream) {
  const std::int64_t blocks = size.tiles(Core::kRows, Core::kColumns);
  if (blocks == 0) return;
  FNN_CHECK(blocks <= INT_MAX, "a product of too many tiles for one launch");
  constexpr int kBytes = ProductMemory<Core>::kBytes;
  void (*kernel)(const Problem, int, int) = product_kernel<Problem, Core>;
  if (kBytes > 48 * 1024)
    FNN_CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  FNN_CUDA_CHECK(launch(kernel, static_cast<unsigned>(blocks), Core::kThreads, kBytes, stream, problem,
                        static_cast<int>(size.row_tiles(Core::kRows)),
                        static_cast<int>(size.column_tiles(Core::kColumns))));
}

}  // namespace fnn::cuda
