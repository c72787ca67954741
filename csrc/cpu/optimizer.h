// Optimizer steps over many tensors at once: for each what tensor_update.h says, the gradients clipped by norm before
// where that is wanted: factor = min(1, clip_norm / norm), the norm over all tensors or over this one. Where a gradient
// that isn't finite is to be skipped, nothing is written then.
//
// Elements, not tensors, are shared out among the threads: one large tensor and a thousand small ones take the same
// time.
#pragma once
#include <cstdint>

#include "cpu/control.h"
#include "cpu/tensor_list.h"

namespace fnn::cpu {

// What every step is given. Numbers are read when the kernel runs, so that a recorded step can be replayed with others.
// found_inf, which may be null: the step is skipped where it isn't 0; it becomes 1 where a gradient is found that isn't
// finite. square, which may be null: the sum of the squares of all gradients, where they are more than this list's.
template <class Rule>
struct StepArguments : Kernel {
  TensorList list;
  Rule rule;
  StepOptions options;
  const double* lr;
  const std::int64_t* t;
  float* found_inf;
  const double* square;
  // Of a step on a GPU: whether lr and t are on the host all the same; what the gradients are divided by, or null.
  Flag by_value = false;
  const float* loss_scale = nullptr;
  StepArguments(const TensorList& list, const Rule& rule, const StepOptions& options, const double* lr,
                const std::int64_t* t, float* found_inf = nullptr, const double* square = nullptr)
      : list(list), rule(rule), options(options), lr(lr), t(t), found_inf(found_inf), square(square) {}
};

template <class Rule>
struct OptimizerStep : StepArguments<Rule> {
  using StepArguments<Rule>::StepArguments;
  Scratch scratch(int threads) const;
  std::int64_t work() const { return (3 + Rule::kSlots) * this->list.element_count; }
  void operator()(const Worker& worker) const;
};

// Adds the squares of a list's gradients, as clipping by norm sees them, to a sum over several lists.
struct AddSquares : Kernel {
  TensorList list;
  StepOptions options;
  double* square;
  const float* loss_scale = nullptr;  // as a step's
  AddSquares(const TensorList& list, const StepOptions& options, double* square)
      : list(list), options(options), square(square) {}
  Scratch scratch(int threads) const;
  std::int64_t work() const { return list.element_count; }
  void operator()(const Worker& worker) const;
};

// What a step ends with that may have been skipped: then it doesn't count as one.
struct EndUpdate : Control {
  float* found_inf;
  std::int64_t *step, *skipped;
  EndUpdate(float* found_inf, std::int64_t* step, std::int64_t* skipped)
      : found_inf(found_inf), step(step), skipped(skipped) {}
  void operator()(const Worker&) const {
    if (*found_inf == 0.f) return;
    *found_inf = 0.f;
    --*step;
    ++*skipped;
  }
};

// The numbers of a step for each tensor, for kernels that update tensors one by one after it.
template <class Rule>
struct PrepareSteps : Control {
  TensorList list;
  Rule rule;
  StepOptions options;
  const double* lr;
  const std::int64_t* t;
  TensorStep<Rule>* steps;  // one a tensor
  PrepareSteps(const TensorList& list, const Rule& rule, const StepOptions& options, const double* lr,
               const std::int64_t* t, TensorStep<Rule>* steps)
      : list(list), rule(rule), options(options), lr(lr), t(t), steps(steps) {}
  void operator()(const Worker&) const {
    double lr_scale = 1.0;
    auto step = rule.at(*lr, *t);
    for (std::int64_t i = 0; i < list.tensor_count; ++i) {
      const OptimizerTensor& tensor = list.tensors[i];
      if (tensor.lr_scale != lr_scale) step = rule.at(*lr * (lr_scale = tensor.lr_scale), *t);
      steps[i] = TensorStep<Rule>(step, tensor, options, *lr);
    }
  }
};

}  // namespace fnn::cpu
