// Softmax over the rows of a matrix. A row of up to 1024 columns is a warp's, which holds it in registers: each element
// is read and written once. A longer one is a block's: it is read twice, the first time for its maximum and the sum of
// the exponentials together (Milakov and Gimelshein, 2018, "Online normalizer calculation for softmax",
// arXiv:1805.02867).
#include <type_traits>

#include "cpu/softmax.h"
#include "cuda/for_each.cuh"
#include "cuda/row_packs.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

constexpr int kRowWarps = 4;       // rows that a block of warps works on at a time
constexpr int kLongThreads = 256;  // of a block that works on one row

template <int kTurns>
__global__ void __launch_bounds__(kRowWarps* kWarp)
    softmax_forward_warp(const float* x, float* y, int64_t rows, int64_t cols, bool whole) {
  const RowPacks packs{cols, whole, kWarp, static_cast<int>(threadIdx.x % kWarp)};
  const int64_t stride = int64_t{gridDim.x} * kRowWarps;
  for (int64_t r = int64_t{blockIdx.x} * kRowWarps + threadIdx.x / kWarp; r < rows; r += stride) {
    Pack row[kTurns];
    float largest = -INFINITY, sum = 0.f;
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      row[t] = packs.load(x + r * cols, t, -INFINITY);
      for (float v : row[t].v) largest = Largest()(largest, v);
    }
    largest = warp_reduce(largest, Largest());
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      const int64_t left = cols - packs.at(t);
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        row[t].v[i] = exp(row[t].v[i] - largest);
        sum += i < left ? row[t].v[i] : 0.f;  // beyond the row it is NaN if all of the row is -inf
      }
    }
    const float scale = 1.f / warp_sum(sum);
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      for (float& v : row[t].v) v *= scale;
      packs.store(y + r * cols, t, row[t]);
    }
  }
}

__global__ void __launch_bounds__(kLongThreads)
    softmax_forward_block(const float* x, float* y, int64_t rows, int64_t cols, bool whole) {
  const RowPacks packs{cols, whole, kLongThreads, static_cast<int>(threadIdx.x)};
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const float* row = x + r * cols;
    float largest = -INFINITY, sum = 0.f;
    for (int64_t t = 0; packs.at(t) < cols; ++t) {
      const Pack pack = packs.load(row, t, -INFINITY);
      const float before = largest;
      for (float v : pack.v) largest = Largest()(largest, v);
      sum *= shifted_exp(before, largest);
      for (float v : pack.v) sum += shifted_exp(v, largest);
    }
    const float shift = block_reduce(largest, Largest());
    const float scale = 1.f / block_sum(sum * shifted_exp(largest, shift));
    for (int64_t t = 0; packs.at(t) < cols; ++t) {
      Pack pack = packs.load(row, t, -INFINITY);
      for (float& v : pack.v) v = exp(v - shift) * scale;
      packs.store(y + r * cols, t, pack);
    }
  }
}

template <int kTurns>
__global__ void __launch_bounds__(kRowWarps* kWarp)
    softmax_backward_warp(const float* y, const float* dy, float* dx, int64_t rows, int64_t cols, bool whole) {
  const RowPacks packs{cols, whole, kWarp, static_cast<int>(threadIdx.x % kWarp)};
  const int64_t stride = int64_t{gridDim.x} * kRowWarps;
  for (int64_t r = int64_t{blockIdx.x} * kRowWarps + threadIdx.x / kWarp; r < rows; r += stride) {
    Pack out[kTurns], grad[kTurns];
    float sum = 0.f;
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      out[t] = packs.load(y + r * cols, t, 0.f);
      grad[t] = packs.load(dy + r * cols, t, 0.f);
      for (int i = 0; i < kPack; ++i) sum += out[t].v[i] * grad[t].v[i];
    }
    sum = warp_sum(sum);
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      for (int i = 0; i < kPack; ++i) grad[t].v[i] = out[t].v[i] * (grad[t].v[i] - sum);
      packs.store(dx + r * cols, t, grad[t]);
    }
  }
}

__global__ void __launch_bounds__(kLongThreads)
    softmax_backward_block(const float* y, const float* dy, float* dx, int64_t rows, int64_t cols, bool whole) {
  const RowPacks packs{cols, whole, kLongThreads, static_cast<int>(threadIdx.x)};
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    float sum = 0.f;
    for (int64_t t = 0; packs.at(t) < cols; ++t) {
      const Pack out = packs.load(y + r * cols, t, 0.f), grad = packs.load(dy + r * cols, t, 0.f);
      for (int i = 0; i < kPack; ++i) sum += out.v[i] * grad.v[i];
    }
    sum = block_sum(sum);
    for (int64_t t = 0; packs.at(t) < cols; ++t) {
      const Pack out = packs.load(y + r * cols, t, 0.f);
      Pack grad = packs.load(dy + r * cols, t, 0.f);
      for (int i = 0; i < kPack; ++i) grad.v[i] = out.v[i] * (grad.v[i] - sum);
      packs.store(dx + r * cols, t, grad);
    }
  }
}

// Calls f with the smallest number of turns, as a type, in which a warp sees all columns.
template <int kMost, class F>
bool with_turns(int64_t cols, const F& f) {
  if (cols > int64_t{kMost} * kWarp * kPack) return false;
  if constexpr (kMost > 1) {
    if (with_turns<kMost / 2>(cols, f)) return true;
  }
  f(std::integral_constant<int, kMost>());
  return true;
}

}  // namespace

template <>
void run(const cpu::SoftmaxForward& kernel, cudaStream_t stream) {
  const int64_t rows = kernel.rows, cols = kernel.cols;
  if (rows * cols == 0) return;
  const bool whole = whole_packs(cols, kernel.x, kernel.y);
  const bool done = with_turns<8>(cols, [&](auto turns) {
    FNN_CUDA_CHECK(launch(softmax_forward_warp<decltype(turns)::value>, blocks_for(rows, kRowWarps), kRowWarps * kWarp,
                          0, stream, kernel.x, kernel.y, rows, cols, whole));
  });
  if (done) return;
  FNN_CUDA_CHECK(launch(softmax_forward_block, blocks_for(rows, 1), kLongThreads, 0, stream, kernel.x, kernel.y, rows,
                        cols, whole));
}

template <>
void run(const cpu::SoftmaxBackward& kernel, cudaStream_t stream) {
  const int64_t rows = kernel.rows, cols = kernel.cols;
  if (rows * cols == 0) return;
  const bool whole = whole_packs(cols, kernel.y, kernel.dy, kernel.dx);
  const bool done = with_turns<4>(cols, [&](auto turns) {
    FNN_CUDA_CHECK(launch(softmax_backward_warp<decltype(turns)::value>, blocks_for(rows, kRowWarps), kRowWarps * kWarp,
                          0, stream, kernel.y, kernel.dy, kernel.dx, rows, cols, whole));
  });
  if (done) return;
  FNN_CUDA_CHECK(launch(softmax_backward_block, blocks_for(rows, 1), kLongThreads, 0, stream, kernel.y, kernel.dy,
                        kernel.dx, rows, cols, whole));
}

}  // namespace fnn::cuda
