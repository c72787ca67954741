// Optimizer steps over many tensors at once.
//
// For every tensor i:  g = scale * grad + l1_i sign(p) + l2_i p
//                      g *= min(1, clip_norm / norm), the norm over all tensors or over this one
//                      g = clip(g, -clip_value, clip_value)
//                      weight decay, with c = weight_decay * decay_i: coupled g += c p, or decoupled p *= 1 - lr
//                      lr_scale_i c p, state = rule(p, g, state) with lr lr_scale_i
//
// Elements, not tensors, are shared out among the threads: one large tensor and a thousand small ones take the same
// time.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "cpu/lanes.h"
#include "math/update_rules.h"

namespace fnn::cpu {

inline constexpr int kMaxSlots = 3;

struct OptimizerTensor {
  float* param;
  const float* grad;
  float* slots[kMaxSlots];
  std::int64_t begin, count;  // begin: elements of the tensors before
  float l1, l2, decay, lr_scale;
};

// Non-owning view of a table of tensors.
struct TensorList {
  const OptimizerTensor* tensors;
  std::int64_t tensor_count, element_count;
};

struct StepOptions {
  double weight_decay = 0.0;
  float scale = 1.f, clip_norm = 0.f, clip_value = 0.f;  // scale: negative to maximise; clip: 0 for none
  bool decoupled = false, clip_norm_per_tensor = false;
};

// lr and t are read when the kernel runs, so that a recorded step can be replayed with new ones.
template <class Rule>
struct OptimizerStep : Kernel {
  TensorList list;
  Rule rule;
  StepOptions options;
  const double* lr;
  const std::int64_t* t;
  OptimizerStep(const TensorList& list, const Rule& rule, const StepOptions& options, const double* lr,
                const std::int64_t* t)
      : list(list), rule(rule), options(options), lr(lr), t(t) {}
  Scratch scratch(int threads) const {
    const bool norms = options.clip_norm > 0.f;
    return {norms ? static_cast<std::size_t>(threads * list.tensor_count) * sizeof(double) : 0, 0};
  }
  std::int64_t work() const { return (3 + Rule::kSlots) * list.element_count; }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
