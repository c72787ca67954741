// The update of a run of one tensor's elements, and what has to be known before it: what the optimizer's own pass
// (optimizer.h) and the kernels that update a parameter as soon as they know its gradient have in common.
//
// For every element:  g = scale * grad + l1 sign(p) + l2 p
//                     g *= factor (of clipping by norm, 1 without)
//                     g = clip(g, -clip_value, clip_value)
//                     weight decay, with c = weight_decay * decay: coupled g += c p, or decoupled p *= 1 - lr lr_scale
//                     c p, state = rule(p, g, state) with lr lr_scale
//
// Where a tensor has an `update`, what the step would add to p is stored there instead; p is only read, and its array
// may be missing (null) where neither regularisation nor decay needs it.
#pragma once
#include <cmath>
#include <cstdint>

#include "base/kernel.h"
#include "math/preparation.h"
#include "math/update_rules.h"

// The rules that treat every element by itself, for explicit instantiations.
#define FNN_EACH_ELEMENTWISE_RULE(USE) \
  USE(SgdRule)                         \
  USE(MomentumRule)                    \
  USE(AdamRule<false>)                 \
  USE(AdamRule<true>)                  \
  USE(RmspropRule<false, false>)       \
  USE(RmspropRule<false, true>)        \
  USE(RmspropRule<true, false>)        \
  USE(RmspropRule<true, true>)         \
  USE(AdagradRule)                     \
  USE(LionRule)

namespace fnn::cpu {

inline constexpr int kMaxSlots = 3;

struct OptimizerTensor {
  float* param;
  const float* grad;
  float* slots[kMaxSlots];
  std::int64_t begin, count;  // begin: elements of the tensors before
  float l1, l2, decay, lr_scale;
  float* update = nullptr;
  bool adapts = true;             // whether a rule with a ratio for each tensor takes this one's (layerwise.h)
  std::int64_t rows = 0;          // of a matrix that lies in C order, where that has been said (muon.h)
  float* scales[kMaxSlots] = {};  // of slots in 8 bits
  void* master = nullptr;         // the rest of a param in 16 bits: see tensor_list.h
};

struct StepOptions {
  double weight_decay = 0.0;
  float scale = 1.f, clip_norm = 0.f, clip_value = 0.f;  // scale: negative to maximise; clip: 0 for none
  bool decoupled = false, clip_norm_per_tensor = false;
  bool skip_nonfinite = false;  // look for gradients that aren't finite, before anything is written

  // What decoupled weight decay takes of p, times p.
  FNN_HD float decay_of(const OptimizerTensor& tensor, double lr) const {
    return decoupled ? static_cast<float>(lr * tensor.lr_scale * (weight_decay * tensor.decay)) : 0.f;
  }
};

// The numbers of one step for one tensor.
template <class Rule>
struct TensorStep {
  typename Rule::Step step;
  Preparation prepare;
  Keep keep;

  // `step`: of the rule, at the tensor's own learning rate.
  FNN_HD TensorStep(const typename Rule::Step& step, const OptimizerTensor& tensor, const StepOptions& options,
                    double lr, double factor = 1.0)
      : step(step), prepare(tensor, options, factor), keep{options.decay_of(tensor, lr)} {}
  TensorStep() = default;
};

// Calls use(keep, prepare): what maps p to what weight decay leaves of it, and (p, g) to the gradient that the rule
// gets.
template <class Rule, class Use>
void with_preparation(const TensorStep<Rule>& numbers, const Use& use) {
  const Preparation prepare = numbers.prepare;
  const float scale = prepare.scale * prepare.factor;
  if (!prepare.only_scales())
    use(numbers.keep, prepare);
  else if (scale != 1.f)
    use(numbers.keep, [scale](auto, auto g) { return decltype(g)(scale) * g; });
  else
    use(numbers.keep, [](auto, auto g) { return g; });
}

// Updates elements [begin, begin + count) of the tensor; grad[0] is the gradient of the first.
template <class Rule>
void update_elements(const OptimizerTensor& tensor, const TensorStep<Rule>& step, const float* grad, std::int64_t begin,
                     std::int64_t count);

// The same for a caller who doesn't know the rule.
struct TensorUpdate {
  const OptimizerTensor* tensor = nullptr;  // null: there is nothing to update
  const void* step = nullptr;
  void (*function)(const TensorUpdate& update, const float* grad, std::int64_t begin, std::int64_t count) = nullptr;

  explicit operator bool() const { return tensor != nullptr; }
  void operator()(const float* grad, std::int64_t begin, std::int64_t count) const {
    function(*this, grad, begin, count);
  }
};
template <class Rule>
TensorUpdate tensor_update(const OptimizerTensor& tensor, const TensorStep<Rule>& step) {
  return {&tensor, &step, [](const TensorUpdate& update, const float* grad, std::int64_t begin, std::int64_t count) {
            update_elements(*update.tensor, *static_cast<const TensorStep<Rule>*>(update.step), grad, begin, count);
          }};
}

}  // namespace fnn::cpu
