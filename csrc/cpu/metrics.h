// Metrics: sums over a batch, added to a float64 state.
//
// The accuracies add (sum_i w_i v_i, sum_i w_i) to state[0], state[1]; errors (absolute, squared) are MeanLoss of
// cpu/loss.h without a gradient. `weights` may be null.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "cpu/worker_sums.h"

namespace fnn::cpu {

struct MetricKernel : Kernel {
  const float* pred;
  const float* weights;
  double* state;
  std::int64_t rows, cols;
  MetricKernel(const float* pred, const float* weights, double* state, std::int64_t rows, std::int64_t cols)
      : pred(pred), weights(weights), state(state), rows(rows), cols(cols) {}
  Scratch scratch(int /*threads*/) const { return row_sums_scratch(rows); }
  std::int64_t work() const { return 4 * rows * cols; }
  Partition before() const { return {Partition::rows, rows}; }
  Partition after() const { return before(); }
  void conclude(const Worker& worker) const;
  FNN_HD double weight(std::int64_t row) const { return weights == nullptr ? 1.0 : weights[row]; }
};

// v = 1 if fewer than k outputs are larger than the label's (NaN counts as larger).
struct TopKMatches : MetricKernel {
  const std::int32_t* labels;
  std::int64_t k;
  TopKMatches(const MetricKernel& base, const std::int32_t* labels, std::int64_t k)
      : MetricKernel(base), labels(labels), k(k) {}
  void operator()(const Worker& worker) const;
};

// v = 1 if the label's output is the first of the largest (a NaN is the largest, as in NumPy's argmax).
struct SparseCategoricalMatches : MetricKernel {
  const std::int32_t* labels;
  SparseCategoricalMatches(const MetricKernel& base, const std::int32_t* labels) : MetricKernel(base), labels(labels) {}
  void operator()(const Worker& worker) const;
};

// The same, the label being the first of the largest targets.
struct CategoricalMatches : MetricKernel {
  const float* targets;
  CategoricalMatches(const MetricKernel& base, const float* targets) : MetricKernel(base), targets(targets) {}
  void operator()(const Worker& worker) const;
};

// v = mean over outputs of (pred > threshold) == target
struct BinaryMatches : MetricKernel {
  const float* targets;
  float threshold;
  BinaryMatches(const MetricKernel& base, const float* targets, float threshold)
      : MetricKernel(base), targets(targets), threshold(threshold) {}
  void operator()(const Worker& worker) const;
};

// counts[4][thresholds] += weights of the true positives, false positives, true negatives and false negatives, where an
// output is positive if pred > threshold and a target if it isn't 0. Thresholds ascend. Of each row the columns first,
// first + step, ... count.
struct ConfusionCounts : Kernel {
  const float *pred, *targets, *weights, *thresholds;
  double* counts;
  std::int64_t rows, cols, threshold_count, first, step;
  Scratch scratch(int threads) const {
    return {static_cast<std::size_t>(threads) * 2 * static_cast<std::size_t>(threshold_count + 1) * sizeof(double), 0};
  }
  std::int64_t work() const { return 20 * rows * cols; }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
