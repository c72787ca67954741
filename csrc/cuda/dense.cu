// Dense layer: y = f(x W + b) and its gradients, from matrix products and one pass over the gradient of y.
#include <algorithm>

#include "cpu/activation.h"
#include "cpu/dense.h"
#include "cuda/for_each.cuh"
#include "cuda/gemm.h"
#include "cuda/workspace.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

constexpr int64_t kBusy = 128, kMostParts = 256;  // blocks that keep a large GPU busy; parts of the rows at most

// How the rows and columns of dz are divided: a block has `across` packs of columns side by side, a power of two, and
// each of its threads every kThreads / across-th of the rows of its part.
struct Division {
  int across;
  int64_t column_blocks, parts, part_rows;

  Division(int64_t rows, int64_t columns) : across(1) {
    while (across < 32 && across * kPack < columns) across *= 2;
    column_blocks = (columns + across * kPack - 1) / (across * kPack);
    const int64_t turns = (rows + kThreads / across - 1) / (kThreads / across);
    const int64_t useful = std::min({kMostParts, (kBusy + column_blocks - 1) / column_blocks, (turns + 7) / 8});
    part_rows = (rows + std::max<int64_t>(useful, 1) - 1) / std::max<int64_t>(useful, 1);
    parts = part_rows == 0 ? 1 : (rows + part_rows - 1) / part_rows;
  }
};

// dz = dy f'(saved), and sums[blockIdx.y] (+)= the columns' sums over this block's part of the rows.
template <class F>
__global__ void __launch_bounds__(kThreads)
    gradient_and_sums(F f, const float* saved, const float* dy, float* dz, float* sums, int64_t rows, int64_t columns,
                      int64_t part_rows, int across, bool whole, bool accumulate) {
  FNN_SHARED(Pack, shared, [kThreads]);
  const int turn = kThreads / across, mine = threadIdx.x / across;
  const int64_t column = (int64_t{blockIdx.x} * across + threadIdx.x % across) * kPack, left = columns - column;
  const int64_t begin = blockIdx.y * part_rows, end = begin + part_rows < rows ? begin + part_rows : rows;
  Pack sum = {};
  for (int64_t row = begin + mine; row < end && left > 0; row += turn) {
    const int64_t at = row * columns + column;
    const Pack values = load_pack(saved + at, left, whole);
    Pack grad = load_pack(dy + at, left, whole);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      grad.v[i] = f.gradient(values.v[i], grad.v[i]);
      sum.v[i] += i < left ? grad.v[i] : 0.f;
    }
    if (dz != nullptr) store_pack(dz + at, grad, left, whole);
  }
  shared[threadIdx.x] = sum;
  for (int half = turn / 2; half > 0; half /= 2) {
    __syncthreads();
    if (mine < half)
      for (int i = 0; i < kPack; ++i) shared[threadIdx.x].v[i] += shared[threadIdx.x + half * across].v[i];
  }
  if (mine > 0 || left <= 0) return;
  float* to = sums + blockIdx.y * columns + column;
  for (int i = 0; i < kPack && i < left; ++i) to[i] = (accumulate ? to[i] : 0.f) + shared[threadIdx.x].v[i];
}

// db[i] (+)= parts[0][i] + parts[1][i] + ...
struct AddParts {
  const float* parts;
  int64_t count, columns;
  float* db;
  bool accumulate;
  __device__ void operator()(int64_t i) const {
    float sum = accumulate ? db[i] : 0.f;
    for (int64_t part = 0; part < count; ++part) sum += parts[part * columns + i];
    db[i] = sum;
  }
};

// What a backward pass with an activation begins with: dz = dy f'(saved), in place or apart, and db unless that is
// null.
void begin_backward(Activation activation, float alpha, const float* saved, const float* dy, float* dz, float* db,
                    int64_t rows, int64_t columns, bool accumulate, cudaStream_t stream) {
  if (saved == nullptr) saved = dy;  // linear: not looked at
  const bool copies = activation != Activation::linear || dz != dy;
  if (db == nullptr) {
    if (copies) run(cpu::ActivationBackward{{}, saved, dy, dz, rows * columns, activation, alpha}, stream);
    return;
  }
  if (columns == 0) return;
  const Division division(rows, columns);
  const bool whole = columns % kPack == 0 && aligned(saved, dy, dz);
  const Workspace parts(division.parts == 1 ? 0 : static_cast<std::size_t>(division.parts * columns) * sizeof(float),
                        stream);
  float* sums = division.parts == 1 ? db : parts.as<float>();
  const dim3 grid(static_cast<unsigned>(division.column_blocks), static_cast<unsigned>(division.parts));
  with_activation(activation, alpha, [&](auto f) {
    FNN_CUDA_CHECK(launch(gradient_and_sums<decltype(f)>, grid, kThreads, 0, stream, f, saved, dy,
                          copies ? dz : nullptr, sums, rows, columns, division.part_rows, division.across, whole,
                          accumulate && division.parts == 1));
  });
  if (division.parts > 1)
    for_each(columns, stream, AddParts{parts.as<float>(), division.parts, columns, db, accumulate});
}

cpu::Gemm weight_gradient(const float* x, const float* dz, float* dw, int64_t n, int64_t in, int64_t out,
                          bool accumulate) {
  return {{}, in, out, n, x, in, true, dz, out, false, dw, out, accumulate, {}};
}

cpu::Gemm input_gradient(const float* dz, const float* w, float* dx, int64_t n, int64_t in, int64_t out) {
  return {{}, n, in, out, dz, out, false, w, out, true, dx, in, false, {}};
}

}  // namespace

template <>
void run(const cpu::DenseForward& kernel, cudaStream_t stream) {
  multiply(kernel, stream);
}

template <>
void run(const cpu::DenseBackward& k, cudaStream_t stream) {
  const cpu::Gemm dw = weight_gradient(k.x, k.dz, k.dw, k.n, k.in, k.out, k.accumulate);
  // Where dz is there already, its sums may come with the product.
  const bool done = k.activation == Activation::linear && k.dz == k.dy && k.dw != nullptr && k.db != nullptr &&
                    !k.accumulate && multiply_and_sum_columns(dw, k.db, stream);
  if (!done) {
    begin_backward(k.activation, k.alpha, k.saved, k.dy, k.dz, k.db, k.n, k.out, k.accumulate, stream);
    if (k.dw != nullptr) multiply(dw, stream);
  }
  if (k.dx != nullptr) multiply(input_gradient(k.dz, k.w, k.dx, k.n, k.in, k.out), stream);
}

template <>
void run(const cpu::DenseInputGradient& k, cudaStream_t stream) {
  begin_backward(k.activation, k.alpha, k.saved, k.dy, k.dz, nullptr, k.n, k.out, false, stream);
  if (k.dx != nullptr) multiply(input_gradient(k.dz, k.w, k.dx, k.n, k.in, k.out), stream);
}

}  // namespace fnn::cuda
