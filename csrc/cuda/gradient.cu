#include <algorithm>

#include "cuda/for_each.cuh"
#include "cuda/gradient.h"
#include "cuda/sum_parts.h"
#include "cuda/workspace.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

constexpr int kAcross = 8, kDown = kThreads / kAcross;  // threads of a block: 32 columns, 32 rows at a time
constexpr int64_t kBlocksAtOnce = 528;                  // four for each multiprocessor of a large GPU

struct Gradients {
  const float* saved;
  const float* dy;
  float* dz;  // null: dy is the gradient, and is only summed
  float* sums;
  int64_t rows, columns, rows_of_block;
  bool whole;
};

template <class F>
__device__ Pack gradient_of(const Gradients& g, const F& f, int64_t at, int64_t left) {
  Pack dz = load_pack(g.dy + at, left, g.whole);
  if (g.dz == nullptr) return dz;
  const Pack saved = g.saved == nullptr ? dz : load_pack(g.saved + at, left, g.whole);
#pragma unroll
  for (int i = 0; i < kPack; ++i) dz.v[i] = f.gradient(saved.v[i], dz.v[i]);
  store_pack(g.dz + at, dz, left, g.whole);
  return dz;
}

// Block (x, y): the x-th 32 columns of the y-th share of the rows, whose sums go to sums[y].
template <class F>
__global__ void __launch_bounds__(kThreads) gradient_and_sums(const __grid_constant__ Gradients g, F f) {
  FNN_SHARED(Pack, parts, [kDown][kAcross]);
  const int across = static_cast<int>(threadIdx.x) % kAcross, down = static_cast<int>(threadIdx.x) / kAcross;
  const int64_t column = (int64_t{blockIdx.x} * kAcross + across) * kPack, left = g.columns - column;
  const int64_t begin = blockIdx.y * g.rows_of_block, end = begin + g.rows_of_block;
  Pack sum = {};
  if (left > 0) {
    for (int64_t row = begin + down; row < end && row < g.rows; row += kDown) {
      const Pack dz = gradient_of(g, f, row * g.columns + column, left);
#pragma unroll
      for (int i = 0; i < kPack; ++i) sum.v[i] += i < left ? dz.v[i] : 0.f;
    }
  }
  parts[down][across] = sum;
  for (int half = kDown / 2; half > 0; half /= 2) {
    __syncthreads();
    if (down < half) {
#pragma unroll
      for (int i = 0; i < kPack; ++i) parts[down][across].v[i] += parts[down + half][across].v[i];
    }
  }
  if (down == 0 && left > 0) store_pack(g.sums + blockIdx.y * g.columns + column, parts[0][across], left, g.whole);
}

template <class F>
struct Gradient {
  F f;
  __device__ float operator()(float saved, float dy) const { return f.gradient(saved, dy); }
};

}  // namespace

void begin_backward(Activation activation, float alpha, const float* saved, const float* dy, float* dz, float* db,
                    int64_t rows, int64_t columns, bool accumulate, cudaStream_t stream) {
  const bool changes = activation != Activation::linear || dz != dy;
  if (saved == nullptr) saved = dy;
  if (db == nullptr) {
    if (!changes) return;
    return with_activation(activation, alpha,
                           [&](auto f) { map(rows * columns, stream, dz, Gradient<decltype(f)>{f}, saved, dy); });
  }
  const int64_t strips = (columns + kAcross * kPack - 1) / (kAcross * kPack);
  if (strips == 0) return;
  const int64_t most = std::max<int64_t>(1, kBlocksAtOnce / strips), least = 4 * kDown;
  const int64_t rows_of_block = std::max((rows + most - 1) / most, least);
  const int64_t parts = std::max<int64_t>(1, (rows + rows_of_block - 1) / rows_of_block);
  const Workspace sums(static_cast<std::size_t>(parts * columns) * sizeof(float), stream);
  const bool whole = columns % kPack == 0 && aligned(saved, dy, dz);
  const Gradients gradients = {saved, dy,      changes ? dz : nullptr, sums.as<float>(),
                               rows,  columns, rows_of_block,          whole};
  with_activation(activation, alpha, [&](auto f) {
    const dim3 grid(static_cast<unsigned>(strips), static_cast<unsigned>(parts));
    FNN_CUDA_CHECK(launch(gradient_and_sums<decltype(f)>, grid, kThreads, 0, stream, gradients, f));
  });
  sum_parts(sums.as<float>(), parts, columns, db, accumulate, stream);
}

}  // namespace fnn::cuda
