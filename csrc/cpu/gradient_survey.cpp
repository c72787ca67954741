#include "cpu/gradient_survey.h"

#include <cmath>

#include "cpu/lanes.h"

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

// 0 where all gradients of [begin, end) are finite once they are scaled, else NaN.
float zero_sum(const TensorList& list, const OptimizerTensor& tensor, float scale, std::int64_t begin,
               std::int64_t end) {
  const Access access = {Access::kGrad, 0, 0};
  Vec sum(0.f);
  visit_elements(list, tensor, begin, end, access,
                 [&](const OptimizerTensor&, const float* grad, std::int64_t /*first*/, std::int64_t count) {
                   for_lanes(0, count, [&](std::int64_t i, auto lanes) {
                     sum = sum + load(grad + i, lanes) * Vec(scale) * Vec(0.f);
                   });
                 });
  float total = 0.f;
  for (int i = 0; i < kLanes; ++i) total += sum.v[i];
  return total;
}

double clip_factor(double square, float limit) {
  const double norm = std::sqrt(square);
  return norm > limit ? limit / norm : 1.0;
}

}  // namespace

std::size_t GradientSurvey::bytes(const TensorList& list, const StepOptions& options, int threads) {
  if (options.clip_norm > 0.f) return TensorSums<1>::bytes(threads, list.tensor_count);
  return options.skip_nonfinite ? TensorSums<1>::bytes(threads, 1) : 0;
}

GradientSurvey::GradientSurvey(const TensorList& list, const StepOptions& options, float* found_inf,
                               const double* square, const Worker& worker)
    : limit_(options.clip_norm), per_tensor_(options.clip_norm_per_tensor) {
  skips_ = found_inf != nullptr && *found_inf != 0.f;
  if (skips_) return;
  const bool clips = limit_ > 0.f;
  bool nonfinite = false;
  if (clips && (per_tensor_ || square == nullptr)) squares_.emplace(squares(list, options, worker));
  if (square != nullptr || (clips && (!per_tensor_ || options.skip_nonfinite))) {
    const double sum = square != nullptr ? *square : squares_->of_all(0);
    if (clips && !per_tensor_) common_factor_ = clip_factor(sum, limit_);
    nonfinite = options.skip_nonfinite && !std::isfinite(sum);
  } else if (options.skip_nonfinite) {
    nonfinite = find_nonfinite(list, options, worker);
  }
  skips_ = nonfinite;
  if (!nonfinite || found_inf == nullptr) return;
  worker.barrier();  // all have read it
  if (worker.rank == 0) *found_inf = 1.f;
}

double GradientSurvey::factor(std::int64_t tensor) const {
  return limit_ > 0.f && per_tensor_ ? clip_factor(squares_->of(tensor, 0), limit_) : common_factor_;
}

TensorSums<1> GradientSurvey::squares(const TensorList& list, const StepOptions& options, const Worker& worker) {
  const TensorSums<1> sums(worker.shared<double>(), list.tensor_count, worker);
  for_share(list, worker, [&](const OptimizerTensor& tensor, std::int64_t begin, std::int64_t end) {
    const Preparation prepare(tensor, options, 1.0);
    sums.add(&tensor - list.tensors, 0, square_sum(list, tensor, prepare, begin, end));
  });
  worker.barrier();
  return sums;
}

bool GradientSurvey::find_nonfinite(const TensorList& list, const StepOptions& options, const Worker& worker) {
  const TensorSums<1> zeros(worker.shared<double>(), 1, worker);
  for_share(list, worker, [&](const OptimizerTensor& tensor, std::int64_t begin, std::int64_t end) {
    zeros.add(0, 0, static_cast<double>(zero_sum(list, tensor, options.scale, begin, end)));
  });
  worker.barrier();
  return zeros.of(0, 0) != 0.0;
}

}  // namespace fnn::cpu
