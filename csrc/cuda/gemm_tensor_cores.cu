// Matrix products on tensor cores: operands are rounded on their way from registers to shared memory, sums are float32.
//
// Tiles lie there in words, the registers of tensor_core.cuh, rows or columns of words as the matrix lies in global
// memory, with gaps such that neither the stores nor the loads of fragments meet in a bank.
#include "cuda/error.h"
#include "cuda/gemm_task.cuh"
#include "cuda/tensor_core.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

constexpr int kDepth = 16;         // products of each sum between two barriers
constexpr int kFragmentWords = 8;  // of which one multiply_fragments takes these

// A warp has kWarpRows x kWarpColumns elements of C, and a block kDown x kAcross warps.
template <int rows, int down, int across>
struct Shape {
  static constexpr int kWarpRows = rows, kWarpColumns = 32, kDown = down, kAcross = across;
  static constexpr int kRows = kWarpRows * kDown, kColumns = kWarpColumns * kAcross;
  static constexpr int kThreads = 32 * kDown * kAcross;
  static constexpr int kRowFragments = kWarpRows / 16, kColumnFragments = kWarpColumns / 8;
  // C leaves in slabs of two fragments' rows of each warp.
  static constexpr int kSlabs = kRowFragments / 2, kSlabRows = 32 * kDown, kSlabStride = kColumns + 8;
};
using Large = Shape<64, 2, 4>;   // 128 x 128
using Medium = Shape<32, 2, 2>;  // 64 x 64

// Neighbours that are written at once.
template <int kCount>
struct alignas(4 * kCount) Words {
  std::uint32_t v[kCount];
};

// A block's next part of an operand, kTile x kDepth. In shared memory it is [kTile, words] where in global memory the
// axis of the sums is the fast one (kAlongK), else [words, kTile].
template <class Format, int kTile, int kThreads, bool kAlongK>
class Tile {
 public:
  static constexpr int kWords = kDepth / Format::kPerRegister;
  static constexpr int kStride = kAlongK ? kWords + 4 : kTile + 8;
  static constexpr int kSize = (kAlongK ? kTile : kWords) * kStride;

  __device__ Tile(const Operand& operand, int64_t first, int64_t begin)
      : ld_(operand.ld), whole_(operand.whole), left_(operand.extent - first - tile_index()) {
    const int64_t row = first + tile_index(), depth = begin + depth_index();
    next_ = operand.data + (kAlongK ? row * ld_ + depth : depth * ld_ + row);
  }

  // `depth`: how much is left of the sums.
  __device__ void load(int64_t depth) {
    depth -= depth_index();
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int64_t there = kAlongK ? (i * kStep < left_ ? depth : 0) : (line(i) < depth ? left_ : 0);
      packs_[i] = load_pack(next_ + (kAlongK ? i * kStep : line(i)) * ld_, there, whole_);
    }
    next_ += kAlongK ? kDepth : kDepth * ld_;
  }

  __device__ void store(std::uint32_t* tile) const {
    if (kAlongK) {
#pragma unroll
      for (int i = 0; i < kPacks; ++i) {
        Words<kPack / Format::kPerRegister> words;
#pragma unroll
        for (int j = 0; j < kPack / Format::kPerRegister; ++j)
          words.v[j] = Format::pack(packs_[i].v + j * Format::kPerRegister);
        put(tile + (tile_index() + i * kStep) * kStride + depth_index() / Format::kPerRegister, words);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kPacks / Format::kPerRegister; ++i) {
        Words<kPack> words;
#pragma unroll
        for (int j = 0; j < kPack; ++j) {
          float pair[Format::kPerRegister];
          for (int k = 0; k < Format::kPerRegister; ++k) pair[k] = packs_[i * Format::kPerRegister + k].v[j];
          words.v[j] = Format::pack(pair);
        }
        put(tile + (depth_index() / Format::kPerRegister + i * kStep) * kStride + tile_index(), words);
      }
    }
  }

  static __device__ std::uint32_t word(const std::uint32_t* tile, int row, int word) {
    return tile[kAlongK ? row * kStride + word : word * kStride + row];
  }

 private:
  // Threads stand along the fast axis; kStep: on the other one (in words), from a thread's place to its next.
  static constexpr int kAcross = (kAlongK ? kDepth : kTile) / kPack, kStep = kThreads / kAcross;
  static constexpr int kPacks = kTile * kDepth / kPack / kThreads;
  static_assert(kThreads % kAcross == 0 && kPacks * kPack * kThreads == kTile * kDepth);
  static_assert(kPacks % Format::kPerRegister == 0);

  static __device__ int tile_index() { return kAlongK ? threadIdx.x / kAcross : threadIdx.x % kAcross * kPack; }
  static __device__ int depth_index() {
    return kAlongK ? threadIdx.x % kAcross * kPack : threadIdx.x / kAcross * Format::kPerRegister;
  }
  template <int kCount>
  static __device__ void put(std::uint32_t* to, const Words<kCount>& words) {
    *reinterpret_cast<Words<kCount>*>(to) = words;
  }
  // Of the sums, from the thread's first place to that of its pack i: neighbours that share a word are one thread's.
  static constexpr __device__ int line(int i) {
    return i / Format::kPerRegister * kStep * Format::kPerRegister + i % Format::kPerRegister;
  }

  const float* next_;
  int64_t ld_;
  bool whole_;
  int64_t left_;  // of the first axis, from this thread's first pack on
  Pack packs_[kPacks];
};

// The elements of C that are a lane's.
template <class S>
struct Sums {
  float v[S::kRowFragments][S::kColumnFragments][4] = {};  // of each fragment, as in tensor_core.cuh

  static __device__ int warp_row() { return threadIdx.x / 32 / S::kAcross; }
  static __device__ int column() { return threadIdx.x / 32 % S::kAcross * S::kWarpColumns; }
  static __device__ int g() { return threadIdx.x % 32 / 4; }
  static __device__ int t() { return threadIdx.x % 4; }

  template <Compute compute, class A, class B>
  __device__ void add(const std::uint32_t* a, const std::uint32_t* b) {
#pragma unroll
    for (int first = 0; first < A::kWords; first += kFragmentWords) {
      const int word = first + t();
      std::uint32_t left[S::kRowFragments][4], right[S::kColumnFragments][2];
#pragma unroll
      for (int i = 0; i < S::kRowFragments; ++i)
#pragma unroll
        for (int part = 0; part < 4; ++part)
          left[i][part] = A::word(a, warp_row() * S::kWarpRows + i * 16 + g() + part % 2 * 8, word + part / 2 * 4);
#pragma unroll
      for (int j = 0; j < S::kColumnFragments; ++j)
#pragma unroll
        for (int part = 0; part < 2; ++part) right[j][part] = B::word(b, column() + j * 8 + g(), word + part * 4);
#pragma unroll
      for (int i = 0; i < S::kRowFragments; ++i)
#pragma unroll
        for (int j = 0; j < S::kColumnFragments; ++j) multiply_fragments<compute>(v[i][j], left[i], right[j]);
    }
  }

  __device__ void store(float* slab, int number) const {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < S::kColumnFragments; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float* sums = v[number * 2 + i][j] + half * 2;
          const int row = warp_row() * 32 + i * 16 + half * 8 + g();
          *reinterpret_cast<float2*>(slab + row * S::kSlabStride + column() + j * 8 + t() * 2) = {sums[0], sums[1]};
        }
  }
};

// On a multiprocessor at once. Without tensor cores the products take more registers than two blocks can have.
template <class S, Compute compute>
inline constexpr int kBlocks = TensorCore<compute>::kInHardware ? 512 / S::kThreads : 1;

template <class S, Compute compute, bool kAlongA, bool kAlongB>
__global__ void __launch_bounds__(S::kThreads, kBlocks<S, compute>)
    multiply_tensor_cores(const __grid_constant__ GemmTask task) {
  using Format = TensorCore<compute>;
  using A = Tile<Format, S::kRows, S::kThreads, kAlongA>;
  using B = Tile<Format, S::kColumns, S::kThreads, kAlongB>;
  constexpr int kTileWords = 2 * (A::kSize + B::kSize), kSlabWords = S::kSlabRows * S::kSlabStride;
  FNN_SHARED(Pack, shared, [(kTileWords > kSlabWords ? kTileWords : kSlabWords) / kPack]);
  auto* const a = reinterpret_cast<std::uint32_t*>(&shared[0]);
  std::uint32_t* const b = a + 2 * A::kSize;
  const TilePlace place = tile_place<S::kRows, S::kColumns>(task.out);
  const Depth depth = depth_of_block(task);
  A fetch_a(task.a, place.row, depth.begin);
  B fetch_b(task.b, place.column, depth.begin);
  Sums<S> sums;

  int64_t left = depth.end - depth.begin;
  fetch_a.load(left);
  fetch_b.load(left);
  fetch_a.store(a);
  fetch_b.store(b);
  __syncthreads();
  for (int buffer = 0; left > 0; buffer ^= 1) {
    left -= kDepth;
    if (left > 0) {
      fetch_a.load(left);
      fetch_b.load(left);
    }
    sums.template add<compute, A, B>(a + buffer * A::kSize, b + buffer * B::kSize);
    if (left > 0) {
      fetch_a.store(a + (buffer ^ 1) * A::kSize);
      fetch_b.store(b + (buffer ^ 1) * B::kSize);
    }
    __syncthreads();
  }

  const GemmOutput out = output_of_block(task);
  float* const slab = reinterpret_cast<float*>(&shared[0]);
#pragma unroll
  for (int i = 0; i < S::kSlabs; ++i) {
    if (i > 0) __syncthreads();
    sums.store(slab, i);
    __syncthreads();
    finish_slab<S::kSlabRows, S::kColumns, S::kSlabStride, 32, S::kThreads>(
        out, slab, {place.row + i * 32, place.column}, S::kWarpRows);
  }
}

template <class S, Compute compute>
void launch_format(const GemmTask& task, int splits, bool along_a, bool along_b, cudaStream_t stream) {
  const int64_t rows = (task.out.m + S::kRows - 1) / S::kRows, columns = (task.out.n + S::kColumns - 1) / S::kColumns;
  const dim3 grid(static_cast<unsigned>(rows * columns), static_cast<unsigned>(splits));
  const auto kernel =
      along_a ? along_b ? multiply_tensor_cores<S, compute, true, true> : multiply_tensor_cores<S, compute, true, false>
      : along_b ? multiply_tensor_cores<S, compute, false, true>
                : multiply_tensor_cores<S, compute, false, false>;
  FNN_CUDA_CHECK(launch(kernel, grid, S::kThreads, 0, stream, task));
}

template <class S>
void launch_shape(const GemmTask& task, Compute compute, int splits, bool along_a, bool along_b, cudaStream_t stream) {
  if (compute == Compute::bfloat16) return launch_format<S, Compute::bfloat16>(task, splits, along_a, along_b, stream);
  if (compute == Compute::float16) return launch_format<S, Compute::float16>(task, splits, along_a, along_b, stream);
  launch_format<S, Compute::tf32>(task, splits, along_a, along_b, stream);
}

}  // namespace

void launch_tensor_cores(const GemmTask& task, Compute compute, TileSize tile, int splits, bool along_a, bool along_b,
                         cudaStream_t stream) {
  if (tile == TileSize::large) return launch_shape<Large>(task, compute, splits, along_a, along_b, stream);
  launch_shape<Medium>(task, compute, splits, along_a, along_b, stream);
}

}  // namespace fnn::cuda
