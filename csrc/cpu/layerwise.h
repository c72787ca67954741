// Steps of the rules that need two norms of each tensor: one pass over all tensors for the norms, a meeting, one for
// the rest. Everything else is as in optimizer.h.
#pragma once
#include "cpu/optimizer.h"
#include "math/layerwise_rules.h"

namespace fnn::cpu {

// lr, t and found_inf: as in OptimizerStep. A tensor whose `adapts` is false has the ratio 1.
template <class Rule>
struct LayerwiseStep : Kernel {
  TensorList list;
  Rule rule;
  StepOptions options;
  const double* lr;
  const std::int64_t* t;
  float* found_inf;
  LayerwiseStep(const TensorList& list, const Rule& rule, const StepOptions& options, const double* lr,
                const std::int64_t* t, float* found_inf = nullptr)
      : list(list), rule(rule), options(options), lr(lr), t(t), found_inf(found_inf) {}
  Scratch scratch(int threads) const;
  std::int64_t work() const { return (5 + 2 * Rule::kSlots) * list.element_count; }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
