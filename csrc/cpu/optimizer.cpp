// Optimizer steps on the CPU: one pass over parameters, gradients and state, and before it one over the gradients where
// something has to be known of all of them.
//
// Out of cache a step is bound by memory (28 bytes an element for Adam), in cache by square root and division.
#include "cpu/optimizer.h"

#include "cpu/gradient_survey.h"
#include "cpu/stored_update.h"

namespace fnn::cpu {

template <class Rule>
Scratch OptimizerStep<Rule>::scratch(int threads) const {
  return {GradientSurvey::bytes(this->list, this->options, threads), 0};
}

template <class Rule>
void OptimizerStep<Rule>::operator()(const Worker& worker) const {
  const TensorList& list = this->list;
  const StepOptions& options = this->options;
  const double lr = *this->lr;
  const std::int64_t t = *this->t;
  const GradientSurvey survey(*this, worker);
  if (survey.skips()) return;
  const unsigned written = Access::kParam | Access::slots(Rule::kSlots);
  const Access access = {written | Access::kGrad, written, t};
  double lr_scale = 1.0;
  auto step = this->rule.at(lr, t);
  for_share(list, worker, [&](const OptimizerTensor& tensor, std::int64_t begin, std::int64_t end) {
    if (tensor.lr_scale != lr_scale) step = this->rule.at(lr * (lr_scale = tensor.lr_scale), t);
    const TensorStep<Rule> numbers(step, tensor, options, lr, survey.factor(&tensor - list.tensors));
    if (!list.formats.all_float32()) begin = update_stored(list, tensor, numbers, begin, end, t);
    visit_elements(list, tensor, begin, end, access,
                   [&](const OptimizerTensor& view, const float* grad, std::int64_t first, std::int64_t count) {
                     update_elements(view, numbers, grad, first, count);
                   });
  });
}

Scratch AddSquares::scratch(int threads) const { return {TensorSums<1>::bytes(threads, list.tensor_count), 0}; }

void AddSquares::operator()(const Worker& worker) const {
  const double mine = GradientSurvey::squares(list, options, worker).of_all(0);
  if (worker.rank == 0) *square += mine;
}

#define FNN_INSTANTIATE(...) template struct OptimizerStep<__VA_ARGS__>;
FNN_EACH_ELEMENTWISE_RULE(FNN_INSTANTIATE)

}  // namespace fnn::cpu
