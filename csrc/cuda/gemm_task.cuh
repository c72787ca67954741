// What the kernels of matrix products are told, and what they do to C once a sum is known.
#pragma once
#include "cpu/gemm.h"
#include "cuda/gemm.h"
#include "cuda/pack.cuh"

namespace fnn::cuda {

// A or B, whose first axis (rows of A, columns of B) is the one of C, and whose second is that of the sums.
struct Operand {
  const float* data;
  std::int64_t ld;      // between rows in memory
  std::int64_t extent;  // of the first axis
  bool whole;           // packs may be read where their place is a multiple of 4
};

struct GemmOutput {
  float* c;
  std::int64_t ldc, m, n;
  bool accumulate;
  cpu::Epilogue epilogue;
  bool whole;
};

struct GemmTask {
  Operand a, b;
  GemmOutput out;
  std::int64_t k, part;  // part: of k, for each blockIdx.y, which has its own C [m, n], one behind the other
};

struct TilePlace {
  std::int64_t row, column;
};

// Where the tile of this block begins in C. Tiles that run at the same time form a rectangle of 8 rows of tiles, so
// that what they read of A and B stays in the second-level cache.
template <int kRows, int kColumns>
__device__ TilePlace tile_place(const GemmOutput& out) {
  constexpr std::int64_t kBand = 8;
  const std::int64_t rows = (out.m + kRows - 1) / kRows, columns = (out.n + kColumns - 1) / kColumns;
  const std::int64_t band = blockIdx.x / (kBand * columns), place = blockIdx.x % (kBand * columns);
  const std::int64_t left = rows - band * kBand, height = left < kBand ? left : kBand;
  return {(band * kBand + place % height) * kRows, place / height * kColumns};
}

// C's four elements from (row, column) on, of which those beyond the last column are skipped.
template <class F>
__device__ inline void finish(const GemmOutput& out, const F& f, Pack sum, std::int64_t row, std::int64_t column) {
  const std::int64_t at = row * out.ldc + column, left = out.n - column;
  if (out.epilogue.bias != nullptr) {
    const Pack bias = load_pack(out.epilogue.bias + column, left, out.whole);
    for (int i = 0; i < kPack; ++i) sum.v[i] += bias.v[i];
  }
  if (out.epilogue.z != nullptr) store_pack(out.epilogue.z + at, sum, left, out.whole);
  for (float& v : sum.v) v = f.value(v);
  if (out.accumulate) {
    const Pack before = load_pack(out.c + at, left, out.whole);
    for (int i = 0; i < kPack; ++i) sum.v[i] += before.v[i];
  }
  store_pack(out.c + at, sum, left, out.whole);
}

// A slab of C in shared memory: rows of kColumns floats, kStride apart. Row r of it is row
// r / kBand * distance + r % kBand of C from `place` on. Called by all threads of the block.
template <int kRows, int kColumns, int kStride, int kBand, int kThreads>
__device__ void finish_slab(const GemmOutput& out, const float* slab, TilePlace place, int distance) {
  with_activation(out.epilogue.activation, out.epilogue.alpha, [&](auto f) {
    for (int item = threadIdx.x; item < kRows * kColumns / kPack; item += kThreads) {
      const int r = item / (kColumns / kPack), c = item % (kColumns / kPack) * kPack;
      const std::int64_t row = place.row + r / kBand * distance + r % kBand, column = place.column + c;
      if (row >= out.m || column >= out.n) continue;
      finish(out, f, *reinterpret_cast<const Pack*>(slab + r * kStride + c), row, column);
    }
  });
}

// The part of the sums that is this block's.
struct Depth {
  std::int64_t begin, end;
};
__device__ inline Depth depth_of_block(const GemmTask& task) {
  const std::int64_t begin = blockIdx.y * task.part, end = begin + task.part;
  return {begin, end < task.k ? end : task.k};
}
__device__ inline GemmOutput output_of_block(const GemmTask& task) {
  GemmOutput out = task.out;
  out.c += blockIdx.y * out.m * out.ldc;
  return out;
}

// Launches of the kernels of gemm_few_rows.cu (at most this many, B not transposed), gemm_floats.cu and
// gemm_tensor_cores.cu; `splits` blocks for each tile.
inline constexpr int kMostFewRows = 8;
void launch_few_rows(const GemmTask& task, int splits, bool along_a, cudaStream_t stream);
void launch_floats(const GemmTask& task, TileSize tile, int splits, bool along_a, bool along_b, cudaStream_t stream);
void launch_tensor_cores(const GemmTask& task, Compute compute, TileSize tile, int splits, bool along_a, bool along_b,
                         cudaStream_t stream);

}  // namespace fnn::cuda
