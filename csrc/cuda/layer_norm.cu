// Layer normalization: a few lanes of a warp, a warp or a block have a row. One of up to 1024 features is held in
// registers, so that x and dy are read once; the gradients of gamma and beta are sums over the rows
// (cuda/column_sums.cuh), which come first because dx may take the place of dy.
#include "cpu/layer_norm.h"
#include "cuda/column_sums.cuh"
#include "cuda/row_packs.cuh"
#include "math/normalization.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

// A row of gamma or beta, or of a constant where there is none.
struct Parameter {
  const float* values;
  float otherwise;

  __device__ Pack load(const RowPacks& packs, int64_t turn) const {
    if (values != nullptr) return packs.load(values, turn, 0.f);
    return {{otherwise, otherwise, otherwise, otherwise}};
  }
};

// The sum over a row of term(turn, k, x), beyond whose end nothing counts.
template <class Team, class Row, class Term>
__device__ inline float row_sum(Row& row, const Term& term) {
  float sum = 0.f;
  row.each([&](int64_t turn, const Pack& x) {
    const int64_t left = row.packs.left(turn);
#pragma unroll
    for (int k = 0; k < kPack; ++k) sum += k < left ? term(turn, k, x.v[k]) : 0.f;
  });
  return Team::reduce(sum, Sum());
}

// `exists`: false for lanes without a row of their own, which have no columns but take part in the sums.
template <class Team, class Row>
__device__ inline void normalize_row(const cpu::LayerNormForward& k, Row& row, int64_t r, bool exists) {
  const float count = static_cast<float>(k.features > 0 ? k.features : 1);
  const float mean = row_sum<Team>(row, [](int64_t, int, float x) { return x; }) / count;
  const float squares = row_sum<Team>(row, [mean](int64_t, int, float x) { return (x - mean) * (x - mean); });
  const float inv_std = inverse_deviation(static_cast<double>(squares) / static_cast<double>(count), k.eps);
  if (exists && Team::rank() == 0) {
    if (k.mean != nullptr) k.mean[r] = mean;
    if (k.inv_std != nullptr) k.inv_std[r] = inv_std;
  }
  const Parameter gamma = {k.gamma, 1.f}, beta = {k.beta, 0.f};
  row.each([&](int64_t turn, const Pack& x) {
    const Pack scale = gamma.load(row.packs, turn), offset = beta.load(row.packs, turn);
    Pack y;
#pragma unroll
    for (int j = 0; j < kPack; ++j) y.v[j] = normalized(x.v[j], mean, scale.v[j] * inv_std, offset.v[j]);
    row.packs.store(k.y + r * k.features, turn, y);
  });
}

template <class Team, class Row>
__device__ inline void row_gradient(const cpu::LayerNormBackward& k, Row& row, int64_t r) {
  // The row is of dy; x is read a second time, from the cache.
  const float *x = k.x + r * k.features, mean = k.mean[r], inv_std = k.inv_std[r];
  const Parameter gamma = {k.gamma, 1.f};
  float sum = 0.f, centered = 0.f;
  row.each([&](int64_t turn, const Pack& dy) {
    const Pack value = row.packs.load(x, turn, mean), scale = gamma.load(row.packs, turn);
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      const float g = dy.v[j] * scale.v[j];  // 0 beyond the end of the row
      sum += j < row.packs.left(turn) ? g : 0.f;
      centered += j < row.packs.left(turn) ? g * (value.v[j] - mean) : 0.f;
    }
  });
  const double count = static_cast<double>(k.features);
  const float mean_g = static_cast<float>(Team::reduce(sum, Sum()) / count);
  const float slope = normalized_slope(Team::reduce(centered, Sum()), count, inv_std);
  row.each([&](int64_t turn, const Pack& dy) {
    const Pack value = row.packs.load(x, turn, mean), scale = gamma.load(row.packs, turn);
    Pack dx;
#pragma unroll
    for (int j = 0; j < kPack; ++j)
      dx.v[j] = normalized_gradient(value.v[j], dy.v[j] * scale.v[j], mean, inv_std, mean_g, slope);
    row.packs.store(k.dx + r * k.features, turn, dx);
  });
}

template <class Team, class Row>
__device__ inline void work_on(const cpu::LayerNormForward& k, Row& row, int64_t r, bool exists) {
  normalize_row<Team>(k, row, r, exists);
}
template <class Team, class Row>
__device__ inline void work_on(const cpu::LayerNormBackward& k, Row& row, int64_t r, bool /*exists*/) {
  row_gradient<Team>(k, row, r);
}
__device__ inline const float* held(const cpu::LayerNormForward& k) { return k.x; }
__device__ inline const float* held(const cpu::LayerNormBackward& k) { return k.dy; }

template <class Kernel, int kLanes, int kTurns>
__global__ void __launch_bounds__(kThreads) norm_held_rows(Kernel k, bool whole) {
  using Team = LaneTeam<kLanes>;
  constexpr int kRows = kThreads / kLanes;
  for (int64_t first = int64_t{blockIdx.x} * kRows; first < k.rows; first += int64_t{gridDim.x} * kRows) {
    const int64_t mine = first + threadIdx.x / kLanes, r = mine < k.rows ? mine : k.rows - 1;
    const RowPacks packs{mine < k.rows ? k.features : 0, whole, kLanes, Team::rank()};
    HeldRow<Team, kTurns> row(held(k) + r * k.features, packs, 0.f);
    work_on<Team>(k, row, r, mine < k.rows);
  }
}

template <class Kernel>
__global__ void __launch_bounds__(kThreads) norm_long_rows(Kernel k, bool whole) {
  const RowPacks packs{k.features, whole, BlockTeam::size(), BlockTeam::rank()};
  for (int64_t r = blockIdx.x; r < k.rows; r += gridDim.x) {
    ReadRow<BlockTeam> row(held(k) + r * k.features, packs, 0.f);
    work_on<BlockTeam>(k, row, r, true);
  }
}

template <class Kernel>
void run_rows(const Kernel& k, bool whole, cudaStream_t stream) {
  const auto start = [&](auto kernel, int rows_of_block) {
    FNN_CUDA_CHECK(launch(kernel, blocks_for(k.rows, rows_of_block), kThreads, 0, stream, k, whole));
  };
  if (k.features <= 32) return start(norm_held_rows<Kernel, 8, 1>, kThreads / 8);
  if (k.features <= 128) return start(norm_held_rows<Kernel, 32, 1>, kThreads / 32);
  if (k.features <= 512) return start(norm_held_rows<Kernel, 32, 4>, kThreads / 32);
  if (k.features <= 1024) return start(norm_held_rows<Kernel, 32, 8>, kThreads / 32);
  start(norm_long_rows<Kernel>, 1);
}

// ---- the gradients of gamma and beta

template <int kWidth>
struct Slopes {
  const float *x, *dy, *mean, *inv_std;
  int64_t features;

  __device__ void add(int64_t row, int64_t feature, PairSums<kWidth>& sums) const {
    const int64_t at = row * features + feature;
    const auto value = load_channels<kWidth>(x + at), grad = load_channels<kWidth>(dy + at);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      sums.first[k] += grad.at[k];
      sums.second[k] += grad.at[k] * ((value.at[k] - mean[row]) * inv_std[row]);
    }
  }
};

__global__ void __launch_bounds__(kThreads)
    finish_parameters(cpu::LayerNormBackward k, bool accumulate, const double* parts, int64_t part_count) {
  for (int64_t j = first_index(); j < k.features; j += index_stride()) {
    const ColumnSums sums(parts, part_count, k.features, j);
    if (k.dgamma != nullptr) k.dgamma[j] = (accumulate ? k.dgamma[j] : 0.f) + static_cast<float>(sums.second);
    if (k.dbeta != nullptr) k.dbeta[j] = (accumulate ? k.dbeta[j] : 0.f) + static_cast<float>(sums.first);
  }
}

void run_parameters(const cpu::LayerNormBackward& k, cudaStream_t stream) {
  with_width(k.features, true, {k.x, k.dy}, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    const ColumnParts grid(k.rows, k.features, kWidth);
    const Workspace parts(grid.bytes(), stream);
    run_column_sums<kWidth>(Slopes<kWidth>{k.x, k.dy, k.mean, k.inv_std, k.features}, grid, parts.as<double>(), stream);
    FNN_CUDA_CHECK(launch(finish_parameters, blocks_for(k.features), kThreads, 0, stream, k, bool{k.accumulate},
                          parts.as<double>(), grid.parts));
  });
}

}  // namespace

template <>
void run(const cpu::LayerNormForward& k, cudaStream_t stream) {
  if (k.rows == 0) return;
  run_rows(k, whole_packs(k.features, k.x, k.y, k.gamma, k.beta), stream);
}

template <>
void run(const cpu::LayerNormBackward& k, cudaStream_t stream) {
  if (k.features == 0) return;
  if (k.dgamma != nullptr || k.dbeta != nullptr) run_parameters(k, stream);
  if (k.dx == nullptr || k.rows == 0) return;
  run_rows(k, whole_packs(k.features, k.x, k.dy, k.dx, k.gamma), stream);
}

}  // namespace fnn::cuda
