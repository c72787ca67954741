// Losses over classes: value and gradient of a row at once, by a few lanes of a warp, a warp or a block as its length
// wants. A row of up to 1024 columns is held in registers, so that each of its elements is read once.
//
// A label can't be checked before the kernel runs, which happens on the device: one outside of the row reads and writes
// nothing out of place, and the loss and the row's gradient are NaN.
#include <cmath>
#include <type_traits>

#include "cpu/loss.h"
#include "cuda/partial_sums.cuh"
#include "cuda/row_packs.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

// For each loss: what the columns beyond the row's end are taken for, and row_loss(kernel, team, row, i) -> l_i, which
// writes the gradient too.

// ---- labels

struct Label {
  int64_t column;
  bool valid;
};
__device__ inline Label label_of(const std::int32_t* labels, int64_t i, int64_t cols) {
  const std::int32_t label = labels[i];
  return {label, label >= 0 && label < cols};
}

// Calls value(column, x) for each of the row's elements that are this thread's and writes what it returns.
template <class Row, class Value>
__device__ inline void write_gradient(Row& row, float* gradient, const Value& value) {
  row.each([&](int64_t turn, const Pack& x) {
    const int64_t at = row.packs.at(turn);
    Pack d;
#pragma unroll
    for (int k = 0; k < kPack; ++k) d.v[k] = value(at + k, x.v[k]);
    row.packs.store(gradient, turn, d);
  });
}

__device__ constexpr float fill(const cpu::SparseSoftmaxCrossEntropy&) { return -INFINITY; }
template <class Team, class Row>
__device__ inline double row_loss(const cpu::SparseSoftmaxCrossEntropy& k, Row& row, int64_t i) {
  const Label label = label_of(k.labels, i, row.packs.cols);  // none where there is no row
  const float x_label = label.valid ? k.pred[i * k.cols + label.column] : NAN;
  const Exponentials e = exponentials(row);
  if (k.gradient != nullptr) {
    Team::meet();  // the gradient may lie where the predictions are
    const float factor = label.valid ? k.gradient_scale(i) : NAN, scale = factor / e.sum;
    write_gradient(row, k.gradient + i * k.cols, [&](int64_t column, float x) {
      return column == label.column ? factor * (x / e.sum - 1.f) : x * scale;
    });
  }
  return ::log(static_cast<double>(e.sum)) - (static_cast<double>(x_label) - e.max);
}

__device__ constexpr float fill(const cpu::SparseCrossEntropy&) { return 0.f; }
template <class Team, class Row>
__device__ inline double row_loss(const cpu::SparseCrossEntropy& k, Row& row, int64_t i) {
  const Label label = label_of(k.labels, i, row.packs.cols);  // none where there is no row
  const float p_label = label.valid ? k.pred[i * k.cols + label.column] : NAN;
  float sum = 0.f;
  row.each([&](int64_t, const Pack& p) {
    for (float v : p.v) sum += v;
  });
  sum = Team::reduce(sum, Sum());
  const Clipped<float> q = clip_probability(p_label / sum);
  if (k.gradient != nullptr) {
    // dl/dq = -1/q at the label, and q = p / sum: dl/dp_j = (1 - [j = label] / q) / sum
    Team::meet();
    const float rest = (label.valid ? k.gradient_scale(i) : NAN) * q.inside / sum, here = rest * (1.f - 1.f / q.value);
    write_gradient(row, k.gradient + i * k.cols,
                   [&](int64_t column, float) { return column == label.column ? here : rest; });
  }
  return -::log(static_cast<double>(q.value));
}

// ---- targets

// A row of smoothed targets: t (1 - smoothing) + smoothing / cols; 0 beyond its end.
struct TargetRow {
  const float* row;
  float keep, spread;

  template <class Kernel>
  __device__ TargetRow(const Kernel& k, int64_t i)
      : row(k.targets + i * k.cols), keep(1.f - k.smoothing), spread(k.smoothing / static_cast<float>(k.cols)) {}
  __device__ Pack load(const RowPacks& packs, int64_t turn) const {
    Pack t = packs.load(row, turn, 0.f);
    const int64_t left = packs.left(turn);
#pragma unroll
    for (int k = 0; k < kPack; ++k) t.v[k] = k < left ? t.v[k] * keep + spread : 0.f;
    return t;
  }
};

__device__ constexpr float fill(const cpu::SoftmaxCrossEntropy&) { return -INFINITY; }
template <class Team, class Row>
__device__ inline double row_loss(const cpu::SoftmaxCrossEntropy& k, Row& row, int64_t i) {
  const TargetRow targets(k, i);
  const Exponentials e = exponentials(row);
  const float log_rest = static_cast<float>(::log(static_cast<double>(e.sum)));
  float value = 0.f, target_sum = 0.f;
  row.each([&](int64_t turn, const Pack&) {
    const Pack x = row.packs.load(k.pred + i * k.cols, turn, e.max), t = targets.load(row.packs, turn);
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      value += j < row.packs.left(turn) ? t.v[j] * (log_rest - (x.v[j] - e.max)) : 0.f;
      target_sum += t.v[j];
    }
  });
  value = Team::reduce(value, Sum());
  if (k.gradient != nullptr) {
    const float share = Team::reduce(target_sum, Sum()) / e.sum, factor = k.gradient_scale(i);
    row.each([&](int64_t turn, const Pack& x) {
      Pack d = targets.load(row.packs, turn);
#pragma unroll
      for (int j = 0; j < kPack; ++j) d.v[j] = factor * (x.v[j] * share - d.v[j]);
      row.packs.store(k.gradient + i * k.cols, turn, d);
    });
  }
  return value;
}

__device__ constexpr float fill(const cpu::CrossEntropy&) { return 0.f; }
template <class Team, class Row>
__device__ inline double row_loss(const cpu::CrossEntropy& k, Row& row, int64_t i) {
  const TargetRow targets(k, i);
  float sum = 0.f, value = 0.f, inside = 0.f;  // inside: -sum_j q_j dl/dq_j
  row.each([&](int64_t, const Pack& p) {
    for (float v : p.v) sum += v;
  });
  sum = Team::reduce(sum, Sum());
  row.each([&](int64_t turn, const Pack& p) {
    const Pack t = targets.load(row.packs, turn);
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      const Clipped<float> q = clip_probability(p.v[j] / sum);
      const bool here = j < row.packs.left(turn);
      value -= here ? t.v[j] * log(q.value) : 0.f;
      inside += here ? t.v[j] * q.inside : 0.f;
    }
  });
  value = Team::reduce(value, Sum());
  if (k.gradient != nullptr) {
    const float rest = Team::reduce(inside, Sum()), factor = k.gradient_scale(i) / sum;
    row.each([&](int64_t turn, const Pack& p) {
      Pack d = targets.load(row.packs, turn);
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        const Clipped<float> q = clip_probability(p.v[j] / sum);
        d.v[j] = factor * (rest - d.v[j] * q.inside / q.value);
      }
      row.packs.store(k.gradient + i * k.cols, turn, d);
    });
  }
  return value;
}

// ---- kernels

// Rows in registers, one for each kLanes lanes. The last rows' neighbours that have none take part without columns.
template <class Loss, int kLanes, int kTurns>
__global__ void __launch_bounds__(kSumThreads) held_rows(Loss k, bool whole, double* parts) {
  using Team = LaneTeam<kLanes>;
  constexpr int kRows = kSumThreads / kLanes;
  double sum[1] = {};
  for (int64_t first = int64_t{blockIdx.x} * kRows; first < k.rows; first += int64_t{gridDim.x} * kRows) {
    const int64_t mine = first + threadIdx.x / kLanes, i = mine < k.rows ? mine : k.rows - 1;
    const RowPacks packs{mine < k.rows ? k.cols : 0, whole, kLanes, Team::rank()};
    HeldRow<Team, kTurns> row(k.pred + i * k.cols, packs, fill(k));
    const double l = row_loss<Team>(k, row, i);
    if (mine < k.rows && Team::rank() == 0) sum[0] += k.scale * k.weight(i) * l;
  }
  leave_sums<1>(sum, {{k.loss}}, parts);
}

// Longer rows, one for a block, read twice. The more threads a block has, the fewer rows are worked on at a time, and
// the more likely is the second reading served by the cache.
template <class Loss, int kBlock>
__global__ void __launch_bounds__(kBlock) long_rows(Loss k, bool whole, double* parts) {
  const RowPacks packs{k.cols, whole, kBlock, BlockTeam::rank()};
  double sum[1] = {};
  for (int64_t i = blockIdx.x; i < k.rows; i += gridDim.x) {
    ReadRow<BlockTeam> row(k.pred + i * k.cols, packs, fill(k));
    const double l = row_loss<BlockTeam>(k, row, i);
    if (threadIdx.x == 0) sum[0] += k.scale * k.weight(i) * l;
  }
  leave_sums<1>(sum, {{k.loss}}, parts);
}

template <class Loss>
void run_rows(const Loss& k, bool whole, cudaStream_t stream) {
  if (k.rows == 0) return;
  const auto start = [&](auto kernel, int64_t rows_of_block, int threads = kSumThreads) {
    const unsigned blocks = sum_blocks(k.rows, rows_of_block, rows_of_block > 1 ? 4 : 1);
    run_summing<1>(blocks, {{k.loss}}, stream,
                   [&](double* parts) { FNN_CUDA_CHECK(launch(kernel, blocks, threads, 0, stream, k, whole, parts)); });
  };
  if (k.cols <= 32) return start(held_rows<Loss, 8, 1>, kSumThreads / 8);
  if (k.cols <= 128) return start(held_rows<Loss, 32, 1>, kSumThreads / 32);
  if (k.cols <= 512) return start(held_rows<Loss, 32, 4>, kSumThreads / 32);
  if (k.cols <= 1024) return start(held_rows<Loss, 32, 8>, kSumThreads / 32);
  if (k.cols <= 8192) return start(long_rows<Loss, kSumThreads>, 1);
  start(long_rows<Loss, 1024>, 1, 1024);
}

}  // namespace

template <>
void run(const cpu::SparseSoftmaxCrossEntropy& k, cudaStream_t stream) {
  run_rows(k, whole_packs(k.cols, k.pred, k.gradient), stream);
}
template <>
void run(const cpu::SparseCrossEntropy& k, cudaStream_t stream) {
  run_rows(k, whole_packs(k.cols, k.pred, k.gradient), stream);
}
template <>
void run(const cpu::SoftmaxCrossEntropy& k, cudaStream_t stream) {
  run_rows(k, whole_packs(k.cols, k.pred, k.targets, k.gradient), stream);
}
template <>
void run(const cpu::CrossEntropy& k, cudaStream_t stream) {
  run_rows(k, whole_packs(k.cols, k.pred, k.targets, k.gradient), stream);
}

}  // namespace fnn::cuda
