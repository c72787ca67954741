// Metrics on the CPU. Whether a label wins is asked by counting the outputs that beat it: a loop that vectorises, where
// a search for the maximum's place does not.
#include "cpu/metrics.h"

#include <algorithm>

#include "cpu/lanes.h"

namespace fnn::cpu {
namespace {

// Outputs in [begin, end) that are not below `value`, and that are above it or NaN.
std::int64_t count_not_below(const float* x, std::int64_t begin, std::int64_t end, float value) {
  std::int64_t count = 0;
  for (std::int64_t j = begin; j < end; ++j) count += !(x[j] < value);
  return count;
}
std::int64_t count_above(const float* x, std::int64_t begin, std::int64_t end, float value) {
  std::int64_t count = 0;
  for (std::int64_t j = begin; j < end; ++j) count += !(x[j] <= value);
  return count;
}

// Whether x[label] is the first of the largest.
bool is_first_largest(const float* x, std::int64_t label, std::int64_t cols) {
  const float value = x[label];
  return value == value && count_not_below(x, 0, label, value) == 0 && count_above(x, label + 1, cols, value) == 0;
}

std::int64_t first_largest(const float* x, std::int64_t cols) {
  Vec most(-INFINITY);
  for_lanes(0, cols, [&](std::int64_t j, auto lanes) {
    const Vec v = fill(load(x + j, lanes), -INFINITY, lanes);
    most = select(v > most, v, most);
  });
  const float largest = reduce_max(most);
  std::int64_t j = 0;
  while (j + 1 < cols && x[j] != largest) ++j;
  return j;
}

// Runs value(i) over this worker's rows.
template <class Value>
void for_rows(const MetricKernel& kernel, const Worker& worker, const Value& value) {
  const Range mine = share(kernel.rows, worker.rank, worker.size);
  double* values = worker.shared<double>();
  for (std::int64_t i = mine.begin; i < mine.end; ++i) values[i] = kernel.weight(i) * value(i);
}

}  // namespace

void MetricKernel::conclude(const Worker& worker) const {
  double total = weights == nullptr ? static_cast<double>(rows) : 0.0;
  for (std::int64_t i = 0; weights != nullptr && i < rows; ++i) total += weights[i];
  state[0] += sum_rows(worker, rows);
  state[1] += total;
}

void TopKMatches::operator()(const Worker& worker) const {
  for_rows(*this, worker, [this](std::int64_t i) {
    const float* x = pred + i * cols;
    const float value = x[labels[i]];
    return value == value && count_above(x, 0, cols, value) < k ? 1.0 : 0.0;
  });
}

void SparseCategoricalMatches::operator()(const Worker& worker) const {
  for_rows(*this, worker,
           [this](std::int64_t i) { return is_first_largest(pred + i * cols, labels[i], cols) ? 1.0 : 0.0; });
}

void CategoricalMatches::operator()(const Worker& worker) const {
  for_rows(*this, worker, [this](std::int64_t i) {
    return is_first_largest(pred + i * cols, first_largest(targets + i * cols, cols), cols) ? 1.0 : 0.0;
  });
}

void BinaryMatches::operator()(const Worker& worker) const {
  for_rows(*this, worker, [this](std::int64_t i) {
    const float *x = pred + i * cols, *t = targets + i * cols;
    std::int64_t count = 0;
    for (std::int64_t j = 0; j < cols; ++j) count += (x[j] > threshold ? 1.f : 0.f) == t[j];
    return static_cast<double>(count) / static_cast<double>(cols);
  });
}

void ConfusionCounts::operator()(const Worker& worker) const {
  // bins[b] holds the weight of the outputs that exceed exactly b thresholds, first of negative, then of positive
  // targets.
  const std::int64_t bins = threshold_count + 1;
  double* own = worker.shared<double>() + worker.rank * 2 * bins;
  std::fill(own, own + 2 * bins, 0.0);
  const Range mine = share(rows, worker.rank, worker.size);
  for (std::int64_t row = mine.begin; row < mine.end; ++row) {
    const double weight = weights == nullptr ? 1.0 : weights[row];
    for (std::int64_t i = row * cols + first; i < (row + 1) * cols; i += step) {
      const std::int64_t bin = std::lower_bound(thresholds, thresholds + threshold_count, pred[i]) - thresholds;
      own[(targets[i] != 0.f ? bins : 0) + (pred[i] == pred[i] ? bin : 0)] += weight;
    }
  }
  worker.barrier();
  if (worker.rank != 0) return;
  for (int rank = 1; rank < worker.size; ++rank) {
    for (std::int64_t b = 0; b < 2 * bins; ++b) own[b] += own[rank * 2 * bins + b];
  }
  for (std::int64_t positive = 0; positive < 2; ++positive) {
    const double* weight = own + positive * bins;
    double* found = counts + (positive ? 0 : 1) * threshold_count;   // tp, or fp
    double* missed = counts + (positive ? 3 : 2) * threshold_count;  // fn, or tn
    double below = 0, above = 0;
    for (std::int64_t t = 0; t < threshold_count; ++t) missed[t] += below += weight[t];
    for (std::int64_t t = threshold_count - 1; t >= 0; --t) found[t] += above += weight[t + 1];
  }
}

}  // namespace fnn::cpu
