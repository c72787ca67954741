// One step of an optimizer over all leaves of a tree, as one call by XLA.
//
// Arguments: the step's number t from 1, the traced hyperparameters, then [params], grads and each slot of the state,
// one
//            buffer for each of the n tensors.
// Results:   the params, or with the attribute `updates` what is to be added to them, and the slots. Each is meant to
// lie
//            where an argument lies (input_output_aliases in Python); one that doesn't is filled from there first.
// Attributes: `tensors` (n), `updates`, `has_params` (0 or 1), `decay` (float32[n]: times weight_decay), and the
//            hyperparameters by name, as Call::number reads them.
#include "xla/optimizer.h"

#include <cstring>
#include <vector>

#include "cpu/optimizer.h"
#include "xla/call.h"

namespace fnn::xla {
namespace {

// The result at `position`, which holds what `argument` holds.
float* in_place(const Call& call, std::int64_t position, const float* argument, std::int64_t count) {
  float* result = call.result(position, count);
  if (result != argument && count > 0) std::memcpy(result, argument, static_cast<std::size_t>(count) * sizeof(float));
  return result;
}

// The table of one call. Its memory stays with the thread, as there is one call a step.
cpu::TensorList read_tensors(const Call& call, int slots, std::vector<cpu::OptimizerTensor>& tensors) {
  const std::int64_t n = call.integer("tensors");
  const bool updates = call.integer("updates") != 0, has_params = call.integer("has_params") != 0;
  FNN_CHECK(n >= 0 && call.result_count() == n * (1 + slots), "there is a result for each tensor and slot");
  FNN_CHECK(updates || has_params, "there are parameters to change");
  const std::int64_t first_slot = call.argument_count() - n * slots, first_grad = first_slot - n;
  const std::int64_t first_param = first_grad - n;
  const float* decay = call.floats("decay", n);
  tensors.clear();
  std::int64_t begin = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    cpu::OptimizerTensor tensor{};
    tensor.begin = begin;
    tensor.decay = decay[i];
    tensor.lr_scale = 1.f;
    tensor.grad = call.argument(first_grad + i, Call::kAny, &tensor.count);
    if (has_params) tensor.param = call.argument(first_param + i, tensor.count);
    if (updates) {
      tensor.update = call.result(i, tensor.count);
    } else {
      tensor.param = in_place(call, i, tensor.param, tensor.count);
    }
    for (int k = 0; k < slots; ++k) {
      const float* before = call.argument(first_slot + k * n + i, tensor.count);
      tensor.slots[k] = in_place(call, (1 + k) * n + i, before, tensor.count);
    }
    begin += tensor.count;
    tensors.push_back(tensor);
  }
  return {tensors.data(), n, begin};
}

template <class Rule>
void step(const Call& call, const Rule& rule) {
  thread_local std::vector<cpu::OptimizerTensor> tensors;
  const cpu::TensorList list = read_tensors(call, Rule::kSlots, tensors);
  cpu::StepOptions options;
  options.weight_decay = call.number("weight_decay");
  options.decoupled = true;
  options.scale = static_cast<float>(call.number("grad_scale"));
  options.clip_norm = static_cast<float>(call.number("clip_norm"));
  const double lr = call.number("learning_rate");
  const std::int64_t t = call.counter(0);
  FNN_CHECK(t >= 1, "the state's count is at least 0");
  run(cpu::OptimizerStep<Rule>(list, rule, options, &lr, &t));
}

void sgd(const Call& call) { step(call, SgdRule{}); }

void momentum(const Call& call) {
  step(call, MomentumRule{call.number("momentum"), 0.0, call.integer("nesterov") != 0, false});
}

template <bool kAmsgrad>
void adam(const Call& call) {
  AdamRule<kAmsgrad> rule{call.number("b1"), call.number("b2"), call.number("eps"), true, false};
  rule.eps_root = call.number("eps_root");
  rule.nesterov = call.integer("nesterov") != 0;
  if (kAmsgrad) {
    rule.corrected_maximum = true;
    rule.corrects_m = call.integer("bias_correction_mu") != 0;
    rule.corrects_v = call.integer("bias_correction_nu") != 0;
  }
  step(call, rule);
}

template <bool kCentered, bool kMomentum>
void rmsprop(const Call& call) {
  RmspropRule<kCentered, kMomentum> rule{call.number("decay_rate"), call.number("eps"), 0.0,
                                         call.integer("eps_in_sqrt") != 0, true};
  if (kMomentum) rule.momentum = call.number("momentum");
  rule.nesterov = kMomentum && call.integer("nesterov") != 0;
  rule.bias_correction = call.integer("bias_correction") != 0;
  rule.negated_buffer = true;
  step(call, rule);
}

}  // namespace

const NamedHandler kOptimizerHandlers[] = {
    {"sgd", &handle<&sgd>},
    {"momentum", &handle<&momentum>},
    {"adam", &handle<&adam<false>>},
    {"amsgrad", &handle<&adam<true>>},
    {"rmsprop", &handle<&rmsprop<false, false>>},
    {"rmsprop_momentum", &handle<&rmsprop<false, true>>},
    {"rmsprop_centered", &handle<&rmsprop<true, false>>},
    {"rmsprop_centered_momentum", &handle<&rmsprop<true, true>>},
    {nullptr, nullptr},
};

}  // namespace fnn::xla
