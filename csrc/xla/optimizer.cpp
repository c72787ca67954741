// One step of an optimizer over the leaves of a tree, or some of them, as one call by XLA.
//
// Arguments and results: tensors.h. Further attributes: `decoupled`, `skip_nonfinite` (0 or 1; with it there is one
// more result, float32[], which is 1 if the step was skipped) and the hyperparameters by name, as Call::number reads
// them.
#include "xla/optimizer.h"

#include <algorithm>
#include <type_traits>

#include "cpu/layerwise.h"
#include "cpu/muon.h"
#include "xla/tensors.h"
#include "xla/thread_pool.h"

namespace fnn::xla {
namespace {

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

void adagrad(const Call& call) { step(call, AdagradRule{0.0, call.number("eps"), true}); }

void lion(const Call& call) { step(call, LionRule{call.number("b1"), call.number("b2")}); }

void lamb(const Call& call) {
  LambRule rule{call.number("b1"), call.number("b2"), call.number("eps"), true};
  rule.eps_root = call.number("eps_root");
  step_together<cpu::LayerwiseStep<LambRule>>(call, rule);
}

void lars(const Call& call) {
  const LarsRule<true> rule{call.number("momentum"),
                            call.number("trust_coefficient"),
                            call.number("eps"),
                            call.integer("nesterov") != 0,
                            true,
                            true};
  step_together<cpu::LayerwiseStep<LarsRule<true>>>(call, rule);
}

void muon(const Call& call) {
  MuonRule rule{call.number("beta"),
                call.number("a"),
                call.number("b"),
                call.number("c"),
                call.number("eps"),
                call.integer("ns_steps"),
                call.integer("nesterov") != 0};
  rule.eps_added = rule.bias_correction = true;
  step_together<cpu::MuonStep>(call, rule);
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
    {"adagrad", &handle<&adagrad>},
    {"lion", &handle<&lion>},
    {"lamb", &handle<&lamb>},
    {"lars", &handle<&lars>},
    {"muon", &handle<&muon>},
    {nullptr, nullptr},
};

}  // namespace fnn::xla
