// One step of an optimizer over the leaves of a tree, or some of them, as one call by XLA.
//
// Arguments and results: tensors.h. Further attributes: `decoupled`, `skip_nonfinite` (0 or 1; with it there is one
// more result, float32[], which is 1 if the step was skipped) and the hyperparameters by name, as Call::number reads
// them.
#include "xla/optimizer.h"

#ifdef FNN_CUDA
#include "xla/step_on_gpu.h"
#else
#include "xla/step_on_cpu.h"
#endif

namespace fnn::xla {
namespace {

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
