// Steps of the rules that need two norms of each tensor: one pass over all tensors for the norms, a meeting, one for
// the rest. Everything else is as in optimizer.h.
#pragma once
#include "cpu/optimizer.h"
#include "math/layerwise_rules.h"

namespace fnn::cpu {

// The numbers of one step for one tensor.
template <class Rule>
struct LayerNumbers {
  typename Rule::Step step;
  Preparation prepare;
  float decay;  // of the direction
  Keep keep;
  float whole;  // of p in the result: 0 if there is an `update`

  FNN_HD LayerNumbers(const Rule& rule, const OptimizerTensor& tensor, const StepOptions& options, double lr,
                      std::int64_t t, double factor)
      : step(rule.at(lr * tensor.lr_scale, t)),
        prepare(tensor, options, factor),
        decay(0.f),
        keep{options.decay_of(tensor, lr)},
        whole(tensor.update == nullptr ? 1.f : 0.f) {
    if (!Rule::kDecayInDirection || options.decoupled) return;
    decay = prepare.coupled;
    prepare.coupled = 0.f;
  }
  LayerNumbers() = default;
};

// A tensor whose `adapts` is false has the ratio 1.
template <class Rule>
struct LayerwiseStep : StepArguments<Rule> {
  using StepArguments<Rule>::StepArguments;
  Scratch scratch(int threads) const;
  std::int64_t work() const { return (5 + 2 * Rule::kSlots) * this->list.element_count; }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
