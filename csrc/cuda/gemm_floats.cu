// Matrix products in float32 without tensor cores: tiles of A and B go through registers to shared memory, twice
// buffered, and each thread has 4x4 to 8x8 elements of C in registers, so that a pack that it reads from shared memory
// serves 4 or 8 products.
//
// V. Volkov and J. W. Demmel, "Benchmarking GPUs to Tune Dense Linear Algebra" (SC 2008).
#include "cuda/error.h"
#include "cuda/gemm_task.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

template <int rows, int columns, int depth, int thread_rows, int thread_columns>
struct Shape {
  static constexpr int kRows = rows, kColumns = columns, kDepth = depth;
  static constexpr int kRowPacks = thread_rows / kPack, kColumnPacks = thread_columns / kPack;  // of a thread
  static constexpr int kThreads = rows / thread_rows * (columns / thread_columns);
  static constexpr int kWarpColumns = columns / thread_columns / 8;  // a warp's threads stand as 4 x 8
  // Between rows of a tile in shared memory: 4 floats more, against bank conflicts where a tile is transposed.
  static constexpr int kStrideA = rows + kPack, kStrideB = columns + kPack;
  static constexpr int kBufferA = depth * kStrideA, kBufferB = depth * kStrideB;
  static constexpr int kSlabRows = rows / kRowPacks;
  static constexpr int kTileFloats = 2 * (kBufferA + kBufferB), kSlabFloats = kSlabRows * columns;
  static constexpr int kSharedPacks = (kTileFloats > kSlabFloats ? kTileFloats : kSlabFloats) / kPack;
};
using Large = Shape<128, 128, 8, 8, 8>;
using Medium = Shape<64, 64, 16, 8, 4>;
using Small = Shape<32, 32, 16, 4, 4>;

// A block's next part of an operand, kTile x kDepth, on its way from global memory through this thread's registers to
// shared memory, where it lies as [kDepth, kTile]. kAlongK: in global memory, the axis of the sums is the fast one.
template <int kTile, int kStride, int kDepth, int kThreads, bool kAlongK>
class Fetch {
 public:
  __device__ Fetch(const Operand& operand, int64_t first, int64_t begin)
      : ld_(operand.ld), whole_(operand.whole), left_(operand.extent - first - tile_index()) {
    const int64_t row = first + tile_index(), depth = begin + depth_index();
    next_ = operand.data + (kAlongK ? row * ld_ + depth : depth * ld_ + row);
  }

  // `depth`: how much is left of the sums.
  __device__ void load(int64_t depth) {
    depth -= depth_index();
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int64_t there = kAlongK ? (i * kStep < left_ ? depth : 0) : (i * kStep < depth ? left_ : 0);
      packs_[i] = load_pack(next_ + i * kStep * ld_, there, whole_);
    }
    next_ += kAlongK ? kDepth : kDepth * ld_;
  }

  __device__ void store(float* tile) const {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      if (kAlongK) {
#pragma unroll
        for (int j = 0; j < kPack; ++j) tile[(depth_index() + j) * kStride + tile_index() + i * kStep] = packs_[i].v[j];
      } else {
        *reinterpret_cast<Pack*>(tile + (depth_index() + i * kStep) * kStride + tile_index()) = packs_[i];
      }
    }
  }

 private:
  // Threads stand along the fast axis; kStep: on the other one, from a thread's pack to its next.
  static constexpr int kAcross = (kAlongK ? kDepth : kTile) / kPack, kStep = kThreads / kAcross;
  static constexpr int kPacks = kTile * kDepth / kPack / kThreads;
  static_assert(kThreads % kAcross == 0 && kPacks * kPack * kThreads == kTile * kDepth);

  static __device__ int tile_index() { return kAlongK ? threadIdx.x / kAcross : threadIdx.x % kAcross * kPack; }
  static __device__ int depth_index() { return kAlongK ? threadIdx.x % kAcross * kPack : threadIdx.x / kAcross; }

  const float* next_;
  int64_t ld_;
  bool whole_;
  int64_t left_;  // of the first axis, from this thread's first pack on
  Pack packs_[kPacks];
};

// The elements of C that are a thread's: packs kRows / kRowPacks rows and kColumns / kColumnPacks columns apart.
template <class S>
struct Sums {
  Pack v[S::kRowPacks * kPack][S::kColumnPacks] = {};

  static __device__ int row() { return (threadIdx.x / 32 / S::kWarpColumns * 4 + threadIdx.x % 32 / 8) * kPack; }
  static __device__ int column() { return (threadIdx.x / 32 % S::kWarpColumns * 8 + threadIdx.x % 8) * kPack; }

  __device__ void add(const float* a, const float* b) {
#pragma unroll
    for (int k = 0; k < S::kDepth; ++k) {
      Pack left[S::kRowPacks], right[S::kColumnPacks];
#pragma unroll
      for (int i = 0; i < S::kRowPacks; ++i)
        left[i] = *reinterpret_cast<const Pack*>(a + k * S::kStrideA + row() + i * S::kSlabRows);
#pragma unroll
      for (int j = 0; j < S::kColumnPacks; ++j)
        right[j] = *reinterpret_cast<const Pack*>(b + k * S::kStrideB + column() + j * (S::kColumns / S::kColumnPacks));
#pragma unroll
      for (int i = 0; i < S::kRowPacks * kPack; ++i)
#pragma unroll
        for (int j = 0; j < S::kColumnPacks * kPack; ++j)
          v[i][j / kPack].v[j % kPack] += left[i / kPack].v[i % kPack] * right[j / kPack].v[j % kPack];
    }
  }

  // Of the packs' row i, all threads' together.
  __device__ void store(float* slab, int i) const {
#pragma unroll
    for (int r = 0; r < kPack; ++r)
#pragma unroll
      for (int j = 0; j < S::kColumnPacks; ++j)
        *reinterpret_cast<Pack*>(slab + (row() + r) * S::kColumns + column() + j * (S::kColumns / S::kColumnPacks)) =
            v[i * kPack + r][j];
  }
};

template <class S, bool kAlongA, bool kAlongB>
__global__ void __launch_bounds__(S::kThreads, 512 / S::kThreads)
    multiply_floats(const __grid_constant__ GemmTask task) {
  FNN_SHARED(Pack, shared, [S::kSharedPacks]);
  float* const a = reinterpret_cast<float*>(&shared[0]);
  float* const b = a + 2 * S::kBufferA;
  const TilePlace place = tile_place<S::kRows, S::kColumns>(task.out);
  const Depth depth = depth_of_block(task);
  Fetch<S::kRows, S::kStrideA, S::kDepth, S::kThreads, kAlongA> fetch_a(task.a, place.row, depth.begin);
  Fetch<S::kColumns, S::kStrideB, S::kDepth, S::kThreads, kAlongB> fetch_b(task.b, place.column, depth.begin);
  Sums<S> sums;

  int64_t left = depth.end - depth.begin;
  fetch_a.load(left);
  fetch_b.load(left);
  fetch_a.store(a);
  fetch_b.store(b);
  __syncthreads();
  for (int buffer = 0; left > 0; buffer ^= 1) {
    left -= S::kDepth;
    if (left > 0) {
      fetch_a.load(left);
      fetch_b.load(left);
    }
    sums.add(a + buffer * S::kBufferA, b + buffer * S::kBufferB);
    if (left > 0) {
      fetch_a.store(a + (buffer ^ 1) * S::kBufferA);
      fetch_b.store(b + (buffer ^ 1) * S::kBufferB);
    }
    __syncthreads();
  }

  const GemmOutput out = output_of_block(task);
#pragma unroll
  for (int i = 0; i < S::kRowPacks; ++i) {
    if (i > 0) __syncthreads();
    sums.store(a, i);
    __syncthreads();
    finish_slab<S::kSlabRows, S::kColumns, S::kColumns, S::kSlabRows, S::kThreads>(
        out, a, {place.row + i * S::kSlabRows, place.column}, 0);
  }
}

template <class S>
void launch_shape(const GemmTask& task, int splits, bool along_a, bool along_b, cudaStream_t stream) {
  const int64_t rows = (task.out.m + S::kRows - 1) / S::kRows, columns = (task.out.n + S::kColumns - 1) / S::kColumns;
  const dim3 grid(static_cast<unsigned>(rows * columns), static_cast<unsigned>(splits));
  const auto kernel = along_a   ? along_b ? multiply_floats<S, true, true> : multiply_floats<S, true, false>
                      : along_b ? multiply_floats<S, false, true>
                                : multiply_floats<S, false, false>;
  FNN_CUDA_CHECK(launch(kernel, grid, S::kThreads, 0, stream, task));
}

}  // namespace

void launch_floats(const GemmTask& task, TileSize tile, int splits, bool along_a, bool along_b, cudaStream_t stream) {
  switch (tile) {
    case TileSize::small:
      return launch_shape<Small>(task, splits, along_a, along_b, stream);
    case TileSize::medium:
      return launch_shape<Medium>(task, splits, along_a, along_b, stream);
    default:
      return launch_shape<Large>(task, splits, along_a, along_b, stream);
  }
}

}  // namespace fnn::cuda
