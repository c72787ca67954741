// Losses: value and gradient in one pass over a row.
//
//   loss += scale * sum_i weights[i] * l_i          gradient = scale * weights[i] * dl_i / dpred
//
// Sums are in float64 and in a fixed order. `weights` and `gradient` may be null; the gradient may lie where the
// predictions are.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "cpu/worker_sums.h"
#include "math/losses.h"

namespace fnn::cpu {

struct LossArguments {
  const float* pred;
  const float* weights;
  float* gradient;
  double* loss;
  std::int64_t rows, cols;
  double scale;
  double* weight_total = nullptr;  // += sum_i weights[i], for metrics

  FNN_HD double weight(std::int64_t row) const { return weights == nullptr ? 1.0 : weights[row]; }
  FNN_HD float gradient_scale(std::int64_t row) const { return static_cast<float>(scale * weight(row)); }
};

struct LossKernel : Kernel, LossArguments {
  explicit LossKernel(const LossArguments& arguments) : LossArguments(arguments) {}
  std::int64_t work() const { return 8 * rows * cols; }
};

// A loss whose l_i is computed by one thread.
struct RowLoss : LossKernel {
  using LossKernel::LossKernel;
  Scratch scratch(int /*threads*/) const { return row_sums_scratch(rows); }
  Partition before() const { return {Partition::rows, rows}; }
  Partition after() const { return before(); }
  void conclude(const Worker& worker) const { *loss += sum_rows(worker, rows); }
};

// l = -log softmax(logits)[label]
struct SparseSoftmaxCrossEntropy : RowLoss {
  const std::int32_t* labels;
  SparseSoftmaxCrossEntropy(const LossArguments& arguments, const std::int32_t* labels)
      : RowLoss(arguments), labels(labels) {}
  void operator()(const Worker& worker) const;
};

// l = -sum_j t_j log softmax(logits)[j], t smoothed: t (1 - smoothing) + smoothing / cols
struct SoftmaxCrossEntropy : RowLoss {
  const float* targets;
  float smoothing;
  SoftmaxCrossEntropy(const LossArguments& arguments, const float* targets, float smoothing)
      : RowLoss(arguments), targets(targets), smoothing(smoothing) {}
  void operator()(const Worker& worker) const;
};

// l = -log q[label], q = p / sum(p), clipped
struct SparseCrossEntropy : RowLoss {
  const std::int32_t* labels;
  SparseCrossEntropy(const LossArguments& arguments, const std::int32_t* labels) : RowLoss(arguments), labels(labels) {}
  void operator()(const Worker& worker) const;
};

// l = -sum_j t_j log q[j], q as above, t smoothed
struct CrossEntropy : RowLoss {
  const float* targets;
  float smoothing;
  CrossEntropy(const LossArguments& arguments, const float* targets, float smoothing)
      : RowLoss(arguments), targets(targets), smoothing(smoothing) {}
  void operator()(const Worker& worker) const;
};

// l = mean_j term(pred_j, t_j)
template <class Term>
struct MeanLoss : LossKernel {
  const float* targets;
  Term term;
  MeanLoss(const LossArguments& arguments, const float* targets, Term term)
      : LossKernel(arguments), targets(targets), term(term) {}
  Scratch scratch(int threads) const { return sums_scratch<2>(threads); }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
