#include "cpu/layerwise.h"

#include <cmath>

#include "cpu/gradient_survey.h"
#include "cpu/lanes.h"

namespace fnn::cpu {
namespace {

struct SquareSums {
  DoubleSum params, directions;
};

// By value what the loops read: a store may alias anything in memory.
template <class Rule>
void first_pass(const OptimizerTensor view, const float* grad, std::int64_t first, std::int64_t count,
                const LayerNumbers<Rule> numbers, SquareSums* sums) {
  constexpr int kSlots = Rule::kStatesInFirst ? Rule::kSlots : 0;
  const float* param = view.param + first;
  float* state[kSlots + 1];
  for (int k = 0; k < kSlots; ++k) state[k] = view.slots[k] + first;
  SquareSums found = *sums;
  for_lanes(0, count, [&](std::int64_t i, auto lanes) {
    Vec slots[kSlots + 1];
    for (int k = 0; k < kSlots; ++k) slots[k] = load(state[k] + i, lanes);
    const Vec p = load(param + i, lanes), kept = numbers.keep(p);
    const Vec g = numbers.prepare(p, load(grad + i, lanes));
    const Vec direction = numbers.step.first(kept, g, Vec(numbers.decay), slots);
    found.params.add_square(kept);
    found.directions.add_square(fill(direction, 0.f, lanes));  // 0 / (0 + 0) where no element is
    for (int k = 0; k < kSlots; ++k) store(state[k] + i, slots[k], lanes);
  });
  *sums = found;
}

template <class Rule>
void second_pass(const OptimizerTensor view, const float* grad, std::int64_t first, std::int64_t count,
                 const LayerNumbers<Rule> numbers, float ratio) {
  constexpr int kSlots = Rule::kSlots;
  const float* param = view.param + first;
  float* const result = (view.update != nullptr ? view.update : view.param) + first;
  float* state[kSlots + 1];
  for (int k = 0; k < kSlots; ++k) state[k] = view.slots[k] + first;
  for_lanes(0, count, [=](std::int64_t i, auto lanes) {
    Vec slots[kSlots + 1];
    for (int k = 0; k < kSlots; ++k) slots[k] = load(state[k] + i, lanes);
    const Vec p = load(param + i, lanes);
    Vec g(0.f);
    if constexpr (Rule::kGradInSecond) g = numbers.prepare(p, load(grad + i, lanes));
    const Vec kept = numbers.keep(p), base = Vec(numbers.whole) * p - Vec(numbers.keep.decay) * p;
    store(result + i, numbers.step.second(base, kept, g, Vec(numbers.decay), slots, ratio), lanes);
    if constexpr (!Rule::kStatesInFirst)
      for (int k = 0; k < kSlots; ++k) store(state[k] + i, slots[k], lanes);
  });
}

}  // namespace

template <class Rule>
Scratch LayerwiseStep<Rule>::scratch(int threads) const {
  return {GradientSurvey::bytes(this->list, this->options, threads) +
              TensorSums<2>::bytes(threads, this->list.tensor_count),
          0};
}

template <class Rule>
void LayerwiseStep<Rule>::operator()(const Worker& worker) const {
  constexpr unsigned kStates = Access::slots(Rule::kSlots);
  const GradientSurvey survey(*this, worker);
  if (survey.skips()) return;
  const TensorList& list = this->list;
  const StepOptions& options = this->options;
  const std::int64_t t = *this->t;
  const auto numbers_of = [&](const OptimizerTensor& tensor) {
    return LayerNumbers<Rule>(this->rule, tensor, options, *this->lr, t, survey.factor(&tensor - list.tensors));
  };
  std::byte* free = worker.shared<std::byte>() + GradientSurvey::bytes(list, options, worker.size);
  const TensorSums<2> squares(reinterpret_cast<double*>(free), list.tensor_count, worker);
  const unsigned states = Rule::kStatesInFirst ? kStates : 0;
  const Access for_norms = {Access::kParam | Access::kGrad | states, states, t};
  for_share(list, worker, [&](const OptimizerTensor& tensor, std::int64_t begin, std::int64_t end) {
    const LayerNumbers<Rule> numbers = numbers_of(tensor);
    SquareSums sums;
    visit_elements(list, tensor, begin, end, for_norms,
                   [&](const OptimizerTensor& view, const float* grad, std::int64_t first, std::int64_t count) {
                     first_pass<Rule>(view, grad, first, count, numbers, &sums);
                   });
    squares.add(&tensor - list.tensors, 0, sums.params.total());
    squares.add(&tensor - list.tensors, 1, sums.directions.total());
  });
  worker.barrier();
  const unsigned written = Access::kParam | (Rule::kStatesInFirst ? 0 : kStates);
  const Access for_step = {Access::kParam | kStates | (Rule::kGradInSecond ? Access::kGrad : 0), written, t};
  for_share(list, worker, [&](const OptimizerTensor& tensor, std::int64_t begin, std::int64_t end) {
    const LayerNumbers<Rule> numbers = numbers_of(tensor);
    const auto norm = [&](int k) { return std::sqrt(squares.of(&tensor - list.tensors, k)); };
    const auto ratio = static_cast<float>(tensor.adapts ? this->rule.ratio(norm(0), norm(1)) : 1.0);
    visit_elements(list, tensor, begin, end, for_step,
                   [&](const OptimizerTensor& view, const float* grad, std::int64_t first, std::int64_t count) {
                     second_pass<Rule>(view, grad, first, count, numbers, ratio);
                   });
  });
}

template struct LayerwiseStep<LambRule>;
template struct LayerwiseStep<LarsRule<false>>;
template struct LayerwiseStep<LarsRule<true>>;

}  // namespace fnn::cpu
