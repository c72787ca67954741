#include "cpu/layer_norm.h"

#include "cpu/column_strips.h"
#include "cpu/for_each.h"
#include "math/normalization.h"

namespace fnn::cpu {
namespace {

// The sum of term(i, lanes) over a row; four chains hide the latency of the addition.
template <class Term>
FNN_INLINE float row_sum(std::int64_t count, const Term& term) {
  Vec sums[4] = {Vec(0.f), Vec(0.f), Vec(0.f), Vec(0.f)};
  for_strips<4>({0, count}, [&](std::int64_t j, auto vectors, auto lanes) {
    for (int v = 0; v < vectors; ++v) sums[v] += fill(term(j + v * kLanes, lanes), 0.f, lanes);
  });
  return reduce_add((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// As many rows as fit half of the first-level cache with their gradients, 4 to kStripRows.
std::int64_t block_rows(std::int64_t features) {
  return std::clamp<std::int64_t>(2048 / std::max<std::int64_t>(features, 1), 4, kStripRows);
}

// dgamma and dbeta of the rows [first, first + count) are added to sums in float64.
void add_parameter_gradients(const LayerNormBackward& k, std::int64_t first, std::int64_t count, double* dgamma,
                             double* dbeta) {
  for_strips<4>({0, k.features}, [&](std::int64_t j, auto vectors, auto lanes) {
    Vec slopes[vectors], plain[vectors];
    for (int v = 0; v < vectors; ++v) slopes[v] = plain[v] = Vec(0.f);
    for (std::int64_t r = first; r < first + count; ++r) {
      const Vec mean(k.mean[r]), inv_std(k.inv_std[r]);
      for (int v = 0; v < vectors; ++v) {
        const std::int64_t at = r * k.features + j + v * kLanes;
        const Vec g = load(k.dy + at, lanes);
        slopes[v] += g * ((load(k.x + at, lanes) - mean) * inv_std);
        plain[v] += g;
      }
    }
    float found[2][vectors * kLanes];
    for (int v = 0; v < vectors; ++v) {
      store(found[0] + v * kLanes, slopes[v]);
      store(found[1] + v * kLanes, plain[v]);
    }
    const std::int64_t columns = std::min<std::int64_t>(vectors * kLanes, k.features - j);
    for (std::int64_t c = 0; c < columns; ++c) {
      dgamma[j + c] += found[0][c];
      dbeta[j + c] += found[1][c];
    }
  });
}

void row_gradient(const LayerNormBackward& k, std::int64_t r) {
  const float *x = k.x + r * k.features, *dy = k.dy + r * k.features;
  float* dx = k.dx + r * k.features;
  const Vec mean(k.mean[r]);
  const auto g = [&](std::int64_t j, auto lanes) {
    const Vec given = load(dy + j, lanes);
    return k.gamma == nullptr ? given : given * load(k.gamma + j, lanes);
  };
  const float sum = row_sum(k.features, g);
  const float centered =
      row_sum(k.features, [&](std::int64_t j, auto lanes) { return g(j, lanes) * (load(x + j, lanes) - mean); });
  const double count = static_cast<double>(k.features);
  const Vec scale(k.inv_std[r]), mean_g(static_cast<float>(sum / count)),
      slope(normalized_slope(centered, count, k.inv_std[r]));
  for_lanes(0, k.features, [&](std::int64_t j, auto lanes) {
    store(dx + j, normalized_gradient(load(x + j, lanes), g(j, lanes), mean, scale, mean_g, slope), lanes);
  });
}

}  // namespace

void LayerNormForward::operator()(const Worker& worker) const {
  const Range mine = share(rows, worker.rank, worker.size);
  const double count = static_cast<double>(std::max<std::int64_t>(features, 1));
  for (std::int64_t r = mine.begin; r < mine.end; ++r) {
    const float* in = x + r * features;
    float* out = y + r * features;
    const float middle =
        static_cast<float>(row_sum(features, [&](std::int64_t j, auto lanes) { return load(in + j, lanes); }) / count);
    const Vec center(middle);
    const float squares = row_sum(features, [&](std::int64_t j, auto lanes) {
      const Vec distance = load(in + j, lanes) - center;
      return distance * distance;
    });
    const float inverse = inverse_deviation(squares / count, eps);
    if (mean != nullptr) mean[r] = middle;
    if (inv_std != nullptr) inv_std[r] = inverse;
    const Vec scale(inverse), one(1.f), zero(0.f);
    for_lanes(0, features, [&](std::int64_t j, auto lanes) {
      const Vec factor = gamma == nullptr ? scale : scale * load(gamma + j, lanes);
      store(out + j, normalized(load(in + j, lanes), center, factor, beta == nullptr ? zero : load(beta + j, lanes)),
            lanes);
    });
  }
}

Scratch LayerNormBackward::scratch(int threads) const {
  return {static_cast<std::size_t>(2 * threads * features) * sizeof(double), 0};
}

void LayerNormBackward::operator()(const Worker& worker) const {
  const bool sums = dgamma != nullptr || dbeta != nullptr;
  double* own = worker.shared<double>() + 2 * worker.rank * features;
  if (sums) std::fill_n(own, 2 * features, 0.0);
  const Range mine = share(rows, worker.rank, worker.size);
  const std::int64_t step = block_rows(features);
  for (std::int64_t first = mine.begin; first < mine.end; first += step) {
    const std::int64_t count = std::min(step, mine.end - first);
    if (sums) add_parameter_gradients(*this, first, count, own, own + features);  // before dx takes the place of dy
    for (std::int64_t r = first; dx != nullptr && r < first + count; ++r) row_gradient(*this, r);
  }
  if (!sums) return;
  worker.barrier();
  const Range columns = share(features, worker.rank, worker.size, 16);
  for (std::int64_t j = columns.begin; j < columns.end; ++j) {
    double slope = 0.0, plain = 0.0;
    for (int rank = 0; rank < worker.size; ++rank) {
      slope += worker.shared<double>()[2 * rank * features + j];
      plain += worker.shared<double>()[(2 * rank + 1) * features + j];
    }
    if (dgamma != nullptr) dgamma[j] = (accumulate ? dgamma[j] : 0.f) + static_cast<float>(slope);
    if (dbeta != nullptr) dbeta[j] = (accumulate ? dbeta[j] : 0.f) + static_cast<float>(plain);
  }
}

}  // namespace fnn::cpu
