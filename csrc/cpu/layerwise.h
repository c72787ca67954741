// Steps of the rules that need two norms of each tensor: one pass over all tensors for the norms, a meeting, one for
// the rest. Everything else is as in optimizer.h.
#pragma once
#include "cpu/optimizer.h"
#include "math/layerwise_rules.h"

namespace fnn::cpu {

// A tensor whose `adapts` is false has the ratio 1.
template <class Rule>
struct LayerwiseStep : StepArguments<Rule> {
  using StepArguments<Rule>::StepArguments;
  Scratch scratch(int threads) const;
  std::int64_t work() const { return (5 + 2 * Rule::kSlots) * this->list.element_count; }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
