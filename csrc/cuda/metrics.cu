// Metrics that ask which outputs of a row are the largest, by counting those that beat the label's. A few lanes of a
// warp, a warp or a block have a row.
//
// A label can't be checked before the kernel runs, which happens on the device: one outside of the row reads nothing
// out of place, and the sum is NaN.
#include <cmath>

#include "cpu/metrics.h"
#include "cuda/partial_sums.cuh"
#include "cuda/row_packs.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

struct Smallest {
  template <class T>
  static __device__ T identity() {
    return INT64_MAX;
  }
  __device__ int64_t operator()(int64_t a, int64_t b) const { return b < a ? b : a; }
};

// The sum over a row of visit(column, x).
template <class Team, class Visit>
__device__ inline int64_t count(const RowPacks& packs, const float* row, const Visit& visit) {
  int64_t sum = 0;
  for (int64_t turn = 0; packs.left(turn) > 0; ++turn) {
    const Pack x = packs.load(row, turn, 0.f);
    const int64_t at = packs.at(turn), left = packs.left(turn);
#pragma unroll
    for (int k = 0; k < kPack; ++k) sum += k < left && visit(at + k, x.v[k]) ? 1 : 0;
  }
  return Team::reduce(sum, Sum());
}

// 1 if x[label] is the first of the largest, 0 if not. A NaN is the largest.
template <class Team>
__device__ inline double is_first_largest(const RowPacks& packs, const float* x, int64_t label) {
  const float value = x[label];
  const int64_t better = count<Team>(packs, x, [value, label](int64_t column, float other) {
    return column != label && (column < label ? !(other < value) : !(other <= value));
  });
  return value == value && better == 0 ? 1.0 : 0.0;
}

// The column of the first of the largest; NaN isn't one, and where all are, it is the last column.
template <class Team>
__device__ inline int64_t first_largest(const RowPacks& packs, const float* x) {
  float largest = -INFINITY;
  for (int64_t turn = 0; packs.left(turn) > 0; ++turn)
    for (float v : packs.load(x, turn, -INFINITY).v) largest = Largest()(largest, v);
  largest = Team::reduce(largest, Largest());
  int64_t first = INT64_MAX;
  for (int64_t turn = 0; packs.left(turn) > 0; ++turn) {
    const Pack pack = packs.load(x, turn, NAN);
#pragma unroll
    for (int k = 0; k < kPack; ++k)
      if (pack.v[k] == largest) first = Smallest()(first, packs.at(turn) + k);
  }
  first = Team::reduce(first, Smallest());
  return first < packs.cols ? first : packs.cols - 1;
}

// row_value<Team>(kernel, packs, row, i) -> v_i

template <class Team>
__device__ inline double row_value(const cpu::TopKMatches& k, const RowPacks& packs, const float* row, int64_t i) {
  const std::int32_t label = k.labels[i];
  const bool valid = label >= 0 && label < k.cols;
  const float value = row[valid ? label : 0];
  const int64_t above = count<Team>(packs, row, [value](int64_t, float other) { return !(other <= value); });
  return valid ? (value == value && above < k.k ? 1.0 : 0.0) : static_cast<double>(NAN);
}

template <class Team>
__device__ inline double row_value(const cpu::SparseCategoricalMatches& k, const RowPacks& packs, const float* row,
                                   int64_t i) {
  const std::int32_t label = k.labels[i];
  const bool valid = label >= 0 && label < k.cols;
  const double match = is_first_largest<Team>(packs, row, valid ? label : 0);
  return valid ? match : static_cast<double>(NAN);
}

template <class Team>
__device__ inline double row_value(const cpu::CategoricalMatches& k, const RowPacks& packs, const float* row,
                                   int64_t i) {
  // Lanes without a row of their own have no columns, but one to look at.
  const int64_t label = first_largest<Team>(packs, k.targets + i * k.cols);
  return is_first_largest<Team>(packs, row, label < 0 ? 0 : label);
}

template <class Team>
__device__ inline double row_value(const cpu::BinaryMatches& k, const RowPacks& packs, const float* row, int64_t i) {
  const float *targets = k.targets + i * k.cols, threshold = k.threshold;
  const int64_t equal = count<Team>(packs, row, [targets, threshold](int64_t column, float x) {
    return (x > threshold ? 1.f : 0.f) == targets[column];
  });
  return static_cast<double>(equal) / static_cast<double>(k.cols);
}

template <class Metric, class Team, int kRows>
__global__ void __launch_bounds__(kSumThreads) rows_kernel(Metric k, bool whole, double* parts) {
  double sums[2] = {};
  for (int64_t first = int64_t{blockIdx.x} * kRows; first < k.rows; first += int64_t{gridDim.x} * kRows) {
    const int64_t mine = first + (kRows > 1 ? threadIdx.x / Team::size() : 0), i = mine < k.rows ? mine : k.rows - 1;
    const RowPacks packs{mine < k.rows ? k.cols : 0, whole, Team::size(), Team::rank()};
    const double value = row_value<Team>(k, packs, k.pred + i * k.cols, i);
    if (mine >= k.rows || Team::rank() != 0) continue;
    sums[0] += k.weight(i) * value;
    sums[1] += k.weight(i);
  }
  leave_sums<2>(sums, {{k.state, k.state + 1}}, parts);
}

template <class Metric>
void run_rows(const Metric& k, cudaStream_t stream) {
  if (k.rows == 0) return;
  const bool whole = whole_packs(k.cols, k.pred);
  const auto start = [&](auto kernel, int64_t rows_of_block) {
    const unsigned blocks = sum_blocks(k.rows, rows_of_block, rows_of_block > 1 ? 4 : 1);
    run_summing<2>(blocks, {{k.state, k.state + 1}}, stream, [&](double* parts) {
      FNN_CUDA_CHECK(launch(kernel, blocks, kSumThreads, 0, stream, k, whole, parts));
    });
  };
  if (k.cols <= 32) return start(rows_kernel<Metric, LaneTeam<8>, kSumThreads / 8>, kSumThreads / 8);
  if (k.cols <= 1024) return start(rows_kernel<Metric, LaneTeam<32>, kSumThreads / 32>, kSumThreads / 32);
  start(rows_kernel<Metric, BlockTeam, 1>, 1);
}

}  // namespace

template <>
void run(const cpu::TopKMatches& k, cudaStream_t stream) {
  run_rows(k, stream);
}
template <>
void run(const cpu::SparseCategoricalMatches& k, cudaStream_t stream) {
  run_rows(k, stream);
}
template <>
void run(const cpu::CategoricalMatches& k, cudaStream_t stream) {
  run_rows(k, stream);
}
template <>
void run(const cpu::BinaryMatches& k, cudaStream_t stream) {
  run_rows(k, stream);
}

}  // namespace fnn::cuda
