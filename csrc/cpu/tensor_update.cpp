#include "cpu/tensor_update.h"

namespace fnn::cpu {
namespace {

// `prepare` maps (p, g) to the gradient that the rule gets. What the loop reads comes by value: a store may alias
// anything in memory, and would make the compiler load it anew each time.
template <int kSlots, class Step, class Prepare>
void update(const OptimizerTensor tensor, const float* grad, std::int64_t begin, std::int64_t count, const Step step,
            float keep, const Prepare prepare) {
  float* const param = tensor.param + begin;
  float* state[kSlots + 1];
  for (int k = 0; k < kSlots; ++k) state[k] = tensor.slots[k] + begin;
  for_lanes(0, count, [=](std::int64_t i, auto lanes) {
    Vec slots[kSlots + 1];
    for (int k = 0; k < kSlots; ++k) slots[k] = load(state[k] + i, lanes);
    const Vec p = load(param + i, lanes);
    const Vec g = prepare(p, load(grad + i, lanes));
    store(param + i, step(p * Vec(keep), g, slots), lanes);
    for (int k = 0; k < kSlots; ++k) store(state[k] + i, slots[k], lanes);
  });
}

}  // namespace

template <class Rule>
void update_elements(const OptimizerTensor& tensor, const TensorStep<Rule>& step, const float* grad, std::int64_t begin,
                     std::int64_t count) {
  const Preparation prepare = step.prepare;
  if (prepare.only_scales()) {
    const Vec scale(prepare.scale * prepare.factor);
    update<Rule::kSlots>(tensor, grad, begin, count, step.step, step.keep, [scale](Vec, Vec g) { return scale * g; });
  } else {
    update<Rule::kSlots>(tensor, grad, begin, count, step.step, step.keep, prepare);
  }
}

template void update_elements(const OptimizerTensor&, const TensorStep<SgdRule>&, const float*, std::int64_t,
                              std::int64_t);
template void update_elements(const OptimizerTensor&, const TensorStep<MomentumRule>&, const float*, std::int64_t,
                              std::int64_t);
template void update_elements(const OptimizerTensor&, const TensorStep<AdamRule<false>>&, const float*, std::int64_t,
                              std::int64_t);
template void update_elements(const OptimizerTensor&, const TensorStep<AdamRule<true>>&, const float*, std::int64_t,
                              std::int64_t);
template void update_elements(const OptimizerTensor&, const TensorStep<RmspropRule<false, false>>&, const float*,
                              std::int64_t, std::int64_t);
template void update_elements(const OptimizerTensor&, const TensorStep<RmspropRule<false, true>>&, const float*,
                              std::int64_t, std::int64_t);
template void update_elements(const OptimizerTensor&, const TensorStep<RmspropRule<true, false>>&, const float*,
                              std::int64_t, std::int64_t);
template void update_elements(const OptimizerTensor&, const TensorStep<RmspropRule<true, true>>&, const float*,
                              std::int64_t, std::int64_t);

}  // namespace fnn::cpu
