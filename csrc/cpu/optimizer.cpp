// Optimizer steps on the CPU: one pass over parameters, gradients and state, and before it one over the gradients where
// their norm is wanted.
//
// Out of cache a step is bound by memory (28 bytes an element for Adam), in cache by square root and division.
#include "cpu/optimizer.h"

#include <algorithm>
#include <cmath>

namespace fnn::cpu {
namespace {

// Squares of the regularised gradients of [begin, end), summed in float64: a float overflows at |g| = 1e19.
double square_sum(const TensorList& list, const OptimizerTensor& tensor, const Preparation& prepare, std::int64_t begin,
                  std::int64_t end) {
  const bool regularized = tensor.l1 != 0.f || tensor.l2 != 0.f;
  const Access access = {Access::kGrad | (regularized ? Access::kParam : 0), 0, 0};
  DoubleSum sum;
  visit_elements(list, tensor, begin, end, access,
                 [&](const OptimizerTensor& view, const float* grad, std::int64_t first, std::int64_t count) {
                   for_lanes(0, count, [&](std::int64_t i, auto lanes) {
                     Vec g = load(grad + i, lanes) * Vec(prepare.scale);
                     if (regularized)
                       g = prepare.regularized(load(view.param + first + i, lanes), load(grad + i, lanes));
                     sum.add_square(g);
                   });
                 });
  return sum.total();
}

double clip_factor(double square, float limit) {
  const double norm = std::sqrt(square);
  return norm > limit ? limit / norm : 1.0;
}

// The sums of squares of all tensors, for every worker the same: norms[rank][tensor], each worker filling its row.
struct Norms {
  const double* rows = nullptr;
  std::int64_t tensor_count = 0;
  int workers = 0;

  double of(std::int64_t tensor) const {
    double sum = 0;
    for (int rank = 0; rank < workers; ++rank) sum += rows[rank * tensor_count + tensor];
    return sum;
  }
  double of_all() const {
    double sum = 0;
    for (std::int64_t tensor = 0; tensor < tensor_count; ++tensor) sum += of(tensor);
    return sum;
  }
};

Norms find_norms(const TensorList& list, const StepOptions& options, const Worker& worker) {
  double* own = worker.shared<double>() + worker.rank * list.tensor_count;
  std::fill(own, own + list.tensor_count, 0.0);
  for_share(list, worker, [&](const OptimizerTensor& tensor, std::int64_t begin, std::int64_t end) {
    const Preparation prepare(tensor, options, 1.0);
    own[&tensor - list.tensors] = square_sum(list, tensor, prepare, begin, end);
  });
  worker.barrier();
  return {worker.shared<double>(), list.tensor_count, worker.size};
}

}  // namespace

template <class Rule>
void OptimizerStep<Rule>::operator()(const Worker& worker) const {
  Norms norms;
  double factor = 1.0;
  if (options.clip_norm > 0.f) {
    norms = find_norms(list, options, worker);
    if (!options.clip_norm_per_tensor) factor = clip_factor(norms.of_all(), options.clip_norm);
  }
  const unsigned written = Access::kParam | Access::slots(Rule::kSlots);
  const Access access = {written | Access::kGrad, written, *t};
  double lr_scale = 1.0;
  auto step = rule.at(*lr, *t);
  for_share(list, worker, [&](const OptimizerTensor& tensor, std::int64_t begin, std::int64_t end) {
    if (tensor.lr_scale != lr_scale) step = rule.at(*lr * (lr_scale = tensor.lr_scale), *t);
    if (norms.rows != nullptr && options.clip_norm_per_tensor) {
      factor = clip_factor(norms.of(&tensor - list.tensors), options.clip_norm);
    }
    const TensorStep<Rule> numbers(step, tensor, options, *lr, factor);
    visit_elements(list, tensor, begin, end, access,
                   [&](const OptimizerTensor& view, const float* grad, std::int64_t first, std::int64_t count) {
                     update_elements(view, numbers, grad, first, count);
                   });
  });
}

#define FNN_INSTANTIATE(...) template struct OptimizerStep<__VA_ARGS__>;
FNN_EACH_ELEMENTWISE_RULE(FNN_INSTANTIATE)

}  // namespace fnn::cpu
