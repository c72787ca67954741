// Losses on the CPU. Softmax with cross-entropy: a row is read three times while it is in the first-level cache
// (maximum, exponentials and their sum, gradient), so that logits of any size are safe: every exponent is <= 0.
#include "cpu/loss.h"

#include <cmath>

#include "cpu/lanes.h"

namespace fnn::cpu {
namespace {

float row_max(const float* x, std::int64_t cols) {
  Vec most(-INFINITY);
  for_lanes(0, cols, [&](std::int64_t j, auto lanes) {
    const Vec v = fill(load(x + j, lanes), -INFINITY, lanes);
    most = select(v > most, v, most);
  });
  return reduce_max(most);
}

struct Exponentials {
  float max, sum;
};

// e = exp(x - max(x)), kept where `e` isn't null (it may be x itself).
Exponentials exponentials(const float* x, float* e, std::int64_t cols) {
  const float most = row_max(x, cols);
  Vec sum(0.f);
  for_lanes(0, cols, [&](std::int64_t j, auto lanes) {
    const Vec y = exp(load(x + j, lanes) - Vec(most));
    if (e != nullptr) store(e + j, y, lanes);
    sum += fill(y, 0.f, lanes);
  });
  return {most, reduce_add(sum)};
}

float row_sum(const float* x, std::int64_t cols) {
  Vec sum(0.f);
  for_lanes(0, cols, [&](std::int64_t j, auto lanes) { sum += load(x + j, lanes); });
  return reduce_add(sum);
}

void scale_row(float* x, float factor, std::int64_t cols) {
  for_lanes(0, cols, [&](std::int64_t j, auto lanes) { store(x + j, load(x + j, lanes) * Vec(factor), lanes); });
}

// Runs row(i) -> l_i over this worker's rows.
template <class Row>
void for_rows(const RowLoss& kernel, const Worker& worker, const Row& row) {
  const Range mine = share(kernel.rows, worker.rank, worker.size);
  double* losses = worker.shared<double>();
  for (std::int64_t i = mine.begin; i < mine.end; ++i) losses[i] = kernel.scale * kernel.weight(i) * row(i);
}

}  // namespace

void SparseSoftmaxCrossEntropy::operator()(const Worker& worker) const {
  for_rows(*this, worker, [this](std::int64_t i) {
    const float* x = pred + i * cols;
    float* d = gradient == nullptr ? nullptr : gradient + i * cols;
    const std::int32_t label = labels[i];
    const float x_label = x[label];
    const Exponentials e = exponentials(x, d, cols);
    const double l = std::log(static_cast<double>(e.sum)) - (static_cast<double>(x_label) - e.max);
    if (d == nullptr) return l;
    const float factor = gradient_scale(i);
    const float probability = d[label] / e.sum;
    scale_row(d, factor / e.sum, cols);
    d[label] = factor * (probability - 1.f);
    return l;
  });
}

void SoftmaxCrossEntropy::operator()(const Worker& worker) const {
  const float keep = 1.f - smoothing, spread = smoothing / static_cast<float>(cols);
  for_rows(*this, worker, [&](std::int64_t i) {
    const float *x = pred + i * cols, *t = targets + i * cols;
    const Exponentials e = exponentials(x, nullptr, cols);
    const double log_sum = std::log(static_cast<double>(e.sum)) + e.max;
    const Vec max(e.max), log_rest(static_cast<float>(log_sum - e.max));
    Vec value(0.f), target_sum(0.f);
    for_lanes(0, cols, [&](std::int64_t j, auto lanes) {
      const Vec target = fill(load(t + j, lanes) * Vec(keep) + Vec(spread), 0.f, lanes);
      value += target * (log_rest - (load(x + j, lanes) - max));
      target_sum += target;
    });
    if (gradient == nullptr) return static_cast<double>(reduce_add(value));
    float* d = gradient + i * cols;
    const Vec share_of(reduce_add(target_sum) / e.sum), factor(gradient_scale(i));
    for_lanes(0, cols, [&](std::int64_t j, auto lanes) {
      const Vec target = load(t + j, lanes) * Vec(keep) + Vec(spread);
      store(d + j, factor * (exp(load(x + j, lanes) - max) * share_of - target), lanes);
    });
    return static_cast<double>(reduce_add(value));
  });
}

void SparseCrossEntropy::operator()(const Worker& worker) const {
  for_rows(*this, worker, [this](std::int64_t i) {
    const float* p = pred + i * cols;
    const std::int32_t label = labels[i];
    const float sum = row_sum(p, cols);
    const Clipped<float> q = clip_probability(p[label] / sum);
    const double l = -std::log(static_cast<double>(q.value));
    if (gradient == nullptr) return l;
    // dl/dq = -1/q at the label, and q = p / sum: dl/dp_j = (dl/dq_j - q dl/dq_label) / sum = (1 - [j = label] / q) /
    // sum
    float* d = gradient + i * cols;
    const float rest = gradient_scale(i) * q.inside / sum;
    for_lanes(0, cols, [&](std::int64_t j, auto lanes) { store(d + j, Vec(rest), lanes); });
    d[label] = rest * (1.f - 1.f / q.value);
    return l;
  });
}

void CrossEntropy::operator()(const Worker& worker) const {
  const float keep = 1.f - smoothing, spread = smoothing / static_cast<float>(cols);
  for_rows(*this, worker, [&](std::int64_t i) {
    const float *p = pred + i * cols, *t = targets + i * cols;
    const float sum = row_sum(p, cols);
    Vec value(0.f), inside(0.f);  // inside: -sum_j q_j dl/dq_j
    for_lanes(0, cols, [&](std::int64_t j, auto lanes) {
      const Vec target = fill(load(t + j, lanes) * Vec(keep) + Vec(spread), 0.f, lanes);
      const Clipped<Vec> q = clip_probability(load(p + j, lanes) / Vec(sum));
      value = value - target * log(q.value);
      inside += target * q.inside;
    });
    const double l = reduce_add(value);
    if (gradient == nullptr) return l;
    float* d = gradient + i * cols;
    const Vec rest(reduce_add(inside)), factor(gradient_scale(i) / sum);
    for_lanes(0, cols, [&](std::int64_t j, auto lanes) {
      const Vec target = load(t + j, lanes) * Vec(keep) + Vec(spread);
      const Clipped<Vec> q = clip_probability(load(p + j, lanes) / Vec(sum));
      store(d + j, factor * (rest - target * q.inside / q.value), lanes);
    });
    return l;
  });
}

template <class Term>
void MeanLoss<Term>::operator()(const Worker& worker) const {
  // Elements [begin, end) that share one weight or, where weight_of isn't null, have one each.
  const auto run = [&](std::int64_t begin, std::int64_t end, const float* weight_of, float factor) {
    DoubleSum sum;
    for_lanes(begin, end, [&](std::int64_t i, auto lanes) {
      const LossTerm<Vec> at = term(load(pred + i, lanes), load(targets + i, lanes));
      const Vec weight = weight_of == nullptr ? Vec(1.f) : load(weight_of + i, lanes);
      sum.add(fill(at.value * weight, 0.f, lanes));
      if (gradient != nullptr) store(gradient + i, at.gradient * (weight * Vec(factor)), lanes);
    });
    return sum.total();
  };
  const double mean_scale = scale / static_cast<double>(cols > 0 ? cols : 1);
  double sums[2] = {0, 0};
  if (weights == nullptr || cols == 1) {
    const Range mine = share(rows * cols, worker.rank, worker.size, 16);
    sums[0] = mean_scale * run(mine.begin, mine.end, weights, static_cast<float>(mean_scale));
    if (weights == nullptr && worker.rank == 0) sums[1] = static_cast<double>(rows);
    for (std::int64_t i = mine.begin; weights != nullptr && i < mine.end; ++i) sums[1] += weights[i];
  } else {
    const Range mine = share(rows, worker.rank, worker.size);
    for (std::int64_t i = mine.begin; i < mine.end; ++i) {
      const double weighted = mean_scale * weights[i];
      sums[0] += weighted * run(i * cols, (i + 1) * cols, nullptr, static_cast<float>(weighted));
      sums[1] += weights[i];
    }
  }
  add_sums<2>(worker, sums, {loss, weight_total});
}

template struct MeanLoss<SquaredError>;
template struct MeanLoss<AbsoluteError>;
template struct MeanLoss<HuberError>;
template struct MeanLoss<SigmoidCrossEntropy>;
template struct MeanLoss<BinaryCrossEntropy>;

}  // namespace fnn::cpu
