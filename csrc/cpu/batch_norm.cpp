#include "cpu/batch_norm.h"

#include "cpu/arena.h"
#include "cpu/column_strips.h"
#include "math/normalization.h"

namespace fnn::cpu {
namespace {

// What the threads share: two sums in float64 for each channel from each of them, and what the sums come to.
struct Shared {
  double* first;   // [threads, channels]
  double* second;  // [threads, channels]
  float* factors;  // [3, channels]
  std::size_t bytes;

  Shared(void* block, std::int64_t threads, std::int64_t channels) {
    ArenaCutter cut(block);
    first = cut.take<double>(threads * channels);
    second = cut.take<double>(threads * channels);
    factors = cut.take<float>(3 * channels);
    bytes = cut.used();
  }
};

// Rows that thread `rank` adds to the sums of a channel: those of its own, or all if it has the channel for itself.
std::int64_t rows_of(int rank, int size, std::int64_t rows) { return share(rows, rank, size).size(); }

// The moments of up to kStripRows rows of a strip.
template <int kVectors, class Lanes>
FNN_INLINE void strip_moments(const float* x, std::int64_t rows, std::int64_t channels, Lanes lanes,
                              Moments<Vec> (&moments)[kVectors]) {
  Vec even[kVectors], odd[kVectors];
  for (int v = 0; v < kVectors; ++v) even[v] = odd[v] = Vec(0.f);
  const auto at = [=](std::int64_t i, int v) { return load(x + i * channels + v * kLanes, lanes); };
  std::int64_t i = 0;
  for (; i + 2 <= rows; i += 2)
    for (int v = 0; v < kVectors; ++v) {
      even[v] += at(i, v);
      odd[v] += at(i + 1, v);
    }
  for (int v = 0; v < kVectors; ++v) {
    if (i < rows) even[v] += at(i, v);
    moments[v].mean = (even[v] + odd[v]) * Vec(1.f / static_cast<float>(rows));
    even[v] = odd[v] = Vec(0.f);
  }
  const auto square = [&](std::int64_t row, int v) {
    const Vec distance = at(row, v) - moments[v].mean;
    return distance * distance;
  };
  for (i = 0; i + 2 <= rows; i += 2)
    for (int v = 0; v < kVectors; ++v) {
      even[v] += square(i, v);
      odd[v] += square(i + 1, v);
    }
  for (int v = 0; v < kVectors; ++v) {
    if (i < rows) even[v] += square(i, v);
    moments[v].squares = even[v] + odd[v];
  }
}

// The moments of all rows of a region, in float64.
void region_moments(const float* x, std::int64_t channels, const Region& region, double* mean, double* squares) {
  for (std::int64_t i = region.rows.begin; i < region.rows.end; i += kStripRows) {
    const std::int64_t rows = std::min(kStripRows, region.rows.end - i), before = i - region.rows.begin;
    for_strips<4>(region.columns, [&](std::int64_t j, auto vectors, auto lanes) {
      Moments<Vec> moments[vectors];
      strip_moments(x + i * channels + j, rows, channels, lanes, moments);
      const std::int64_t columns = std::min<std::int64_t>(vectors * kLanes, region.columns.end - j);
      float found[2][vectors * kLanes];
      for (int v = 0; v < vectors; ++v) {
        store(found[0] + v * kLanes, moments[v].mean);
        store(found[1] + v * kLanes, moments[v].squares);
      }
      for (std::int64_t c = 0; c < columns; ++c) {
        const Moments<double> part = {found[0][c], found[1][c]};
        const Moments<double> all = before == 0
                                        ? part
                                        : merge<double>({mean[j + c], squares[j + c]}, static_cast<double>(before),
                                                        part, static_cast<double>(rows));
        mean[j + c] = all.mean;
        squares[j + c] = all.squares;
      }
    });
  }
}

// y = (x - mean) scale + beta
void normalize(const float* x, float* y, std::int64_t channels, const Region& region, const float* mean,
               const float* scale, const float* beta) {
  for (std::int64_t i = region.rows.begin; i < region.rows.end; i += kStripRows) {
    const std::int64_t rows = std::min(kStripRows, region.rows.end - i);
    for_strips<4>(region.columns, [&](std::int64_t j, auto vectors, auto lanes) {
      Vec means[vectors], scales[vectors], betas[vectors];
      for (int v = 0; v < vectors; ++v) {
        means[v] = load(mean + j + v * kLanes, lanes);
        scales[v] = load(scale + j + v * kLanes, lanes);
        betas[v] = load(beta + j + v * kLanes, lanes);
      }
      for (std::int64_t r = i; r < i + rows; ++r)
        for (int v = 0; v < vectors; ++v) {
          const std::int64_t at = r * channels + j + v * kLanes;
          store(y + at, normalized(load(x + at, lanes), means[v], scales[v], betas[v]), lanes);
        }
    });
  }
}

// The sums of dy and of dy (x - mean) over all rows of a region, in float64.
void region_sums(const float* x, const float* dy, const float* mean, std::int64_t channels, const Region& region,
                 double* sum, double* sum_centered) {
  for (std::int64_t j = region.columns.begin; j < region.columns.end; ++j) sum[j] = sum_centered[j] = 0.0;
  for (std::int64_t i = region.rows.begin; i < region.rows.end; i += kStripRows) {
    const std::int64_t rows = std::min(kStripRows, region.rows.end - i);
    for_strips<4>(region.columns, [&](std::int64_t j, auto vectors, auto lanes) {
      Vec plain[vectors], centered[vectors], means[vectors];
      for (int v = 0; v < vectors; ++v) {
        plain[v] = centered[v] = Vec(0.f);
        means[v] = load(mean + j + v * kLanes, lanes);
      }
      for (std::int64_t r = i; r < i + rows; ++r)
        for (int v = 0; v < vectors; ++v) {
          const std::int64_t at = r * channels + j + v * kLanes;
          const Vec g = load(dy + at, lanes);
          plain[v] += g;
          centered[v] += g * (load(x + at, lanes) - means[v]);
        }
      const std::int64_t columns = std::min<std::int64_t>(vectors * kLanes, region.columns.end - j);
      float found[2][vectors * kLanes];
      for (int v = 0; v < vectors; ++v) {
        store(found[0] + v * kLanes, plain[v]);
        store(found[1] + v * kLanes, centered[v]);
      }
      for (std::int64_t c = 0; c < columns; ++c) {
        sum[j + c] += found[0][c];
        sum_centered[j + c] += found[1][c];
      }
    });
  }
}

// dx = ((dy - mean_dy) + (x - mean) slope) scale
void input_gradient(const BatchNormBackward& k, const Region& region, const float* factors) {
  for (std::int64_t i = region.rows.begin; i < region.rows.end; i += kStripRows) {
    const std::int64_t rows = std::min(kStripRows, region.rows.end - i);
    for_strips<2>(region.columns, [&](std::int64_t j, auto vectors, auto lanes) {
      Vec means[vectors], scale[vectors], mean_dy[vectors], slope[vectors];
      for (int v = 0; v < vectors; ++v) {
        const float* from = factors + j + v * kLanes;
        means[v] = load(k.mean + j + v * kLanes, lanes);
        scale[v] = load(from, lanes);
        mean_dy[v] = load(from + k.channels, lanes);
        slope[v] = load(from + 2 * k.channels, lanes);
      }
      for (std::int64_t r = i; r < i + rows; ++r)
        for (int v = 0; v < vectors; ++v) {
          const std::int64_t at = r * k.channels + j + v * kLanes;
          const Vec g = load(k.dy + at, lanes), value = load(k.x + at, lanes);
          store(k.dx + at, normalized_gradient(value, g, means[v], scale[v], mean_dy[v], slope[v]), lanes);
        }
    });
  }
}

}  // namespace

Scratch BatchNormForward::scratch(int threads) const { return {Shared(nullptr, threads, channels).bytes, 0}; }

void BatchNormForward::operator()(const Worker& worker) const {
  const Region region = region_of(worker, rows, channels);
  const Shared shared(worker.shared<void>(), worker.size, channels);
  const std::int64_t own = region.by_columns ? 0 : worker.rank * channels;
  region_moments(x, channels, region, shared.first + own, shared.second + own);
  if (!region.by_columns) worker.barrier();
  const Range columns = region.by_columns ? region.columns : share(channels, worker.rank, worker.size, 16);
  for (std::int64_t j = columns.begin; j < columns.end; ++j) {
    Moments<double> all = {0.0, 0.0};
    std::int64_t count = region.by_columns ? rows : rows_of(0, worker.size, rows);
    if (count > 0) all = {shared.first[j], shared.second[j]};
    for (int rank = 1; rank < worker.size && !region.by_columns; ++rank) {
      const std::int64_t more = rows_of(rank, worker.size, rows), at = rank * channels + j;
      if (more > 0)
        all = merge<double>(all, static_cast<double>(count), {shared.first[at], shared.second[at]},
                            static_cast<double>(more));
      count += more;
    }
    const double variance = all.squares / static_cast<double>(std::max<std::int64_t>(count, 1));
    mean[j] = static_cast<float>(all.mean);
    inv_std[j] = inverse_deviation(variance, eps);
    if (rows > 0) {
      moving_mean[j] = moving_average(moving_mean[j], all.mean, momentum);
      moving_variance[j] = moving_average(moving_variance[j], variance, momentum);
    }
    shared.factors[j] = gamma == nullptr ? inv_std[j] : gamma[j] * inv_std[j];
    shared.factors[channels + j] = beta == nullptr ? 0.f : beta[j];
  }
  if (!region.by_columns) worker.barrier();
  normalize(x, y, channels, region, mean, shared.factors, shared.factors + channels);
}

Scratch BatchNormInference::scratch(int) const { return {0, static_cast<std::size_t>(3 * channels) * sizeof(float)}; }

void BatchNormInference::operator()(const Worker& worker) const {
  float* factors = worker.scratch<float>();
  for (std::int64_t j = 0; j < channels; ++j) {
    const float inv_std = inverse_deviation(variance[j], eps);
    factors[j] = mean == nullptr ? 0.f : mean[j];
    factors[channels + j] = gamma == nullptr ? inv_std : gamma[j] * inv_std;
    factors[2 * channels + j] = beta == nullptr ? 0.f : beta[j];
  }
  const Region region = {share(rows, worker.rank, worker.size), {0, channels}, false};
  normalize(x, y, channels, region, factors, factors + channels, factors + 2 * channels);
}

Scratch BatchNormBackward::scratch(int threads) const { return {Shared(nullptr, threads, channels).bytes, 0}; }

void BatchNormBackward::operator()(const Worker& worker) const {
  const Region region = region_of(worker, rows, channels);
  const Shared shared(worker.shared<void>(), worker.size, channels);
  const std::int64_t own = region.by_columns ? 0 : worker.rank * channels;
  region_sums(x, dy, mean, channels, region, shared.first + own, shared.second + own);
  if (!region.by_columns) worker.barrier();
  const Range columns = region.by_columns ? region.columns : share(channels, worker.rank, worker.size, 16);
  for (std::int64_t j = columns.begin; j < columns.end; ++j) {
    double sum = 0.0, centered = 0.0;
    for (int rank = 0; rank < (region.by_columns ? 1 : worker.size); ++rank) {
      sum += shared.first[rank * channels + j];
      centered += shared.second[rank * channels + j];
    }
    const float slope = static_cast<float>(centered * inv_std[j]), factor = gamma == nullptr ? 1.f : gamma[j];
    if (dgamma != nullptr) dgamma[j] = accumulate ? dgamma[j] + slope : slope;
    if (dbeta != nullptr) dbeta[j] = (accumulate ? dbeta[j] : 0.f) + static_cast<float>(sum);
    const double count = static_cast<double>(std::max<std::int64_t>(rows, 1));
    shared.factors[j] = factor * inv_std[j];
    shared.factors[channels + j] = static_cast<float>(sum / count);
    shared.factors[2 * channels + j] = normalized_slope(centered, count, inv_std[j]);
  }
  if (dx == nullptr) return;
  if (!region.by_columns) worker.barrier();
  input_gradient(*this, region, shared.factors);
}

}  // namespace fnn::cpu
