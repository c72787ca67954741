#include "cpu/tensor_update.h"

#include "cpu/lanes.h"

namespace fnn::cpu {
namespace {

alignas(64) constexpr float kNoParam[kLanes] = {};

// So many elements ahead of the loop memory is asked for. The processor's own prefetchers stop at the end of a page of
// 4 KB, and the arithmetic of Adam leaves no room for loads of the next vectors: 25 million elements went at 0.79 to
// 0.87 of the rate of scaling them in place, and at 0.88 to 0.94 so. 128 did as well, 192 worse.
constexpr std::int64_t kAhead = 64;

// `keep` maps p to what weight decay leaves of it, `prepare` (p, g) to the gradient that the rule gets. What the loop
// reads comes by value: a store may alias anything in memory, and would make the compiler load it anew each time.
template <int kSlots, class Step, class Keep, class Prepare>
void update(const OptimizerTensor tensor, const float* grad, std::int64_t begin, std::int64_t count, const Step step,
            const Keep keep, const Prepare prepare) {
  const bool missing = tensor.param == nullptr;
  const float* const param = missing ? kNoParam : tensor.param + begin;
  const std::int64_t pace = missing ? 0 : 1;
  float* const result = (tensor.update != nullptr ? tensor.update : tensor.param) + begin;
  float* state[kSlots + 1];
  for (int k = 0; k < kSlots; ++k) state[k] = tensor.slots[k] + begin;
  for_lanes(0, count, [=](std::int64_t i, auto lanes) {
    __builtin_prefetch(param + pace * (i + kAhead));
    __builtin_prefetch(grad + i + kAhead);
    for (int k = 0; k < kSlots; ++k) __builtin_prefetch(state[k] + i + kAhead);
    Vec slots[kSlots + 1];
    for (int k = 0; k < kSlots; ++k) slots[k] = load(state[k] + i, lanes);
    const Vec p = load(param + pace * i, lanes);
    const Vec g = prepare(p, load(grad + i, lanes));
    store(result + i, step(keep(p), g, slots), lanes);
    for (int k = 0; k < kSlots; ++k) store(state[k] + i, slots[k], lanes);
  });
}

}  // namespace

template <class Rule>
void update_elements(const OptimizerTensor& tensor, const TensorStep<Rule>& step, const float* grad, std::int64_t begin,
                     std::int64_t count) {
  const auto run = [&](auto keep, auto prepare) {
    update<Rule::kSlots>(tensor, grad, begin, count, step.step, keep, prepare);
  };
  const Preparation& prepare = step.prepare;
  const Keep keep = step.keep;
  if (tensor.update != nullptr)  // what is added to p
    run([keep](Vec p) { return Vec(-keep.decay) * p; }, prepare);
  else if (prepare.only_scales() && prepare.scale * prepare.factor == 1.f && keep.decay == 0.f)
    run([](Vec p) { return p; }, [](Vec, Vec g) { return g; });
  else
    with_preparation(step, run);
}

#define FNN_INSTANTIATE(...)                                                                                        \
  template void update_elements(const OptimizerTensor&, const TensorStep<__VA_ARGS__>&, const float*, std::int64_t, \
                                std::int64_t);
FNN_EACH_ELEMENTWISE_RULE(FNN_INSTANTIATE)

}  // namespace fnn::cpu
