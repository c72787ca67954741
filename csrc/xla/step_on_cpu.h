// How a handler's step runs on the CPU: on XLA's threads, or on the team where threads have to meet.
#pragma once
#include <algorithm>
#include <type_traits>

#include "cpu/layerwise.h"
#include "cpu/muon.h"
#include "xla/tensors.h"
#include "xla/thread_pool.h"

namespace fnn::xla {

// Elements that are worth a task of their own.
constexpr std::int64_t kShare = 1 << 14;

struct Numbers {
  double lr;
  std::int64_t t;
  cpu::StepOptions options;
  float* found_inf = nullptr;

  explicit Numbers(const Call& call) : lr(call.number("learning_rate")), t(call.counter(0)) {
    FNN_CHECK(t >= 1, "the state's count is at least 0");
    options.weight_decay = call.number("weight_decay");
    options.decoupled = call.integer("decoupled") != 0;
    options.scale = static_cast<float>(call.number("grad_scale"));
    options.clip_norm = static_cast<float>(call.number("clip_norm"));
    options.clip_value = static_cast<float>(call.number("clip_value"));
    options.skip_nonfinite = call.integer("skip_nonfinite") != 0;
    if (!options.skip_nonfinite) return;
    const Array found = call.result(call.result_count() - 1);
    FNN_CHECK(found.dtype == DataType::f32 && found.count == 1, "the last result says whether the step was skipped");
    found_inf = found.floats();
    *found_inf = 0.f;
  }
};

// The threads meet in these kernels, so that all of them have to be there: the team's own.
template <class Kernel, class Rule>
void step_together(const Call& call, const Rule& rule) {
  const Numbers numbers(call);
  const cpu::TensorList list = read_tensors(call, Rule::kSlots);
  for (std::int64_t i = 0; std::is_same_v<Rule, MuonRule> && i < list.tensor_count; ++i) {
    FNN_CHECK(list.tensors[i].rows > 0, "every tensor is a matrix");
  }
  run(Kernel(list, rule, numbers.options, &numbers.lr, &numbers.t, numbers.found_inf));
}

template <class Rule>
void step(const Call& call, const Rule& rule) {
  using Kernel = cpu::OptimizerStep<Rule>;
  const Numbers numbers(call);
  if (numbers.options.clip_norm > 0.f || numbers.options.skip_nonfinite) return step_together<Kernel>(call, rule);
  const cpu::TensorList list = read_tensors(call, Rule::kSlots);
  const Kernel kernel(list, rule, numbers.options, &numbers.lr, &numbers.t);
  for_shares(call, std::max<std::int64_t>(1, list.element_count / kShare),
             [&](std::int64_t share, std::int64_t shares) {
               kernel(Worker(nullptr, static_cast<int>(share), static_cast<int>(shares), nullptr, nullptr));
             });
}

}  // namespace fnn::xla
