// The rules of the optimizers, each made by one function that checks its options.
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "bindings/update_rule.h"

namespace fnn::bindings {
namespace {

using RulePointer = std::unique_ptr<UpdateRule>;

void check_range(const char* function, const char* argument, double value, double low, double high,
                 const char* wanted) {
  if (!(value >= low && value < high)) fail(function, argument, wanted, std::to_string(value));
}
void check_fraction(const char* function, const char* argument, double value) {
  check_range(function, argument, value, 0.0, 1.0, "at least 0 and below 1");
}
void check_size(const char* function, const char* argument, double value) {
  check_range(function, argument, value, 0.0, INFINITY, "finite and at least 0");
}

// The arguments that all rules share, in the order of their signature.
struct Common {
  const char* function;
  double weight_decay;
  bool decoupled, maximize;
  double grad_scale, clip_norm, clip_value;
  bool clip_norm_per_tensor, skip_nonfinite;
};

cpu::StepOptions checked_options(const Common& common) {
  check_size(common.function, "weight_decay", common.weight_decay);
  check_size(common.function, "clip_norm", common.clip_norm);
  check_size(common.function, "clip_value", common.clip_value);
  cpu::StepOptions options;
  options.weight_decay = common.weight_decay;
  options.decoupled = common.decoupled;
  options.scale = static_cast<float>(common.maximize ? -common.grad_scale : common.grad_scale);
  options.clip_norm = static_cast<float>(common.clip_norm);
  options.clip_value = static_cast<float>(common.clip_value);
  options.clip_norm_per_tensor = common.clip_norm_per_tensor;
  options.skip_nonfinite = common.skip_nonfinite;
  return options;
}

template <class Rule>
RulePointer elementwise(const Rule& rule, const Common& common) {
  return std::make_unique<ElementwiseRule<Rule>>(rule, checked_options(common));
}

template <class Kernel, class Rule>
RulePointer by_tensor(const Rule& rule, const Common& common) {
  return std::make_unique<TensorRule<Rule, Kernel>>(rule, checked_options(common));
}

// Defines module.name(own arguments, common arguments) for make(common, own...).
template <class... Own, class... Names>
void define_rule(py::module_& module, const char* name, RulePointer (*make)(const Common&, Own...),
                 const Names&... names) {
  using py::arg;
  module.def(
      name,
      [name, make](Own... own, double weight_decay, bool decoupled, bool maximize, double grad_scale, double clip_norm,
                   double clip_value, bool clip_norm_per_tensor, bool skip_nonfinite) {
        return make(Common{name, weight_decay, decoupled, maximize, grad_scale, clip_norm, clip_value,
                           clip_norm_per_tensor, skip_nonfinite},
                    own...);
      },
      py::kw_only(), names..., arg("weight_decay") = 0.0, arg("decoupled") = false, arg("maximize") = false,
      arg("grad_scale") = 1.0, arg("clip_norm") = 0.0, arg("clip_value") = 0.0, arg("clip_norm_per_tensor") = false,
      arg("skip_nonfinite") = false);
}

RulePointer sgd(const Common& common, double momentum, double dampening, bool nesterov, bool lr_in_momentum) {
  const char* name = common.function;
  check_size(name, "momentum", momentum);
  if (momentum == 0.0) {  // without a buffer lr_in_momentum makes no difference
    if (nesterov) fail(name, "momentum", "above 0 with nesterov", "0");
    if (dampening != 0.0) fail(name, "momentum", "above 0 with dampening", "0");
    return elementwise(SgdRule{}, common);
  }
  if (nesterov && dampening != 0.0) fail(name, "dampening", "0 with nesterov", std::to_string(dampening));
  return elementwise(MomentumRule{momentum, dampening, nesterov, lr_in_momentum}, common);
}

RulePointer adam(const Common& common, double beta1, double beta2, double eps, bool bias_correction, bool eps_hat,
                 bool amsgrad) {
  const char* name = common.function;
  check_fraction(name, "beta1", beta1);
  check_fraction(name, "beta2", beta2);
  check_size(name, "eps", eps);
  if (amsgrad) return elementwise(AdamRule<true>{beta1, beta2, eps, bias_correction, eps_hat}, common);
  return elementwise(AdamRule<false>{beta1, beta2, eps, bias_correction, eps_hat}, common);
}

RulePointer rmsprop(const Common& common, double alpha, double eps, double momentum, bool centered,
                    bool eps_inside_sqrt, bool lr_in_momentum) {
  const char* name = common.function;
  check_fraction(name, "alpha", alpha);
  check_size(name, "eps", eps);
  check_size(name, "momentum", momentum);
  const auto with = [&](auto rule) {
    rule.alpha = alpha;
    rule.eps = eps;
    rule.momentum = momentum;
    rule.eps_inside_sqrt = eps_inside_sqrt;
    rule.lr_in_momentum = lr_in_momentum;
    return elementwise(rule, common);
  };
  if (centered) return momentum != 0.0 ? with(RmspropRule<true, true>{}) : with(RmspropRule<true, false>{});
  return momentum != 0.0 ? with(RmspropRule<false, true>{}) : with(RmspropRule<false, false>{});
}

RulePointer adagrad(const Common& common, double lr_decay, double eps, bool eps_inside_sqrt) {
  check_size(common.function, "lr_decay", lr_decay);
  check_size(common.function, "eps", eps);
  return elementwise(AdagradRule{lr_decay, eps, eps_inside_sqrt}, common);
}

RulePointer lion(const Common& common, double beta1, double beta2) {
  check_fraction(common.function, "beta1", beta1);
  check_fraction(common.function, "beta2", beta2);
  return elementwise(LionRule{beta1, beta2}, common);
}

RulePointer lamb(const Common& common, double beta1, double beta2, double eps, bool bias_correction) {
  check_fraction(common.function, "beta1", beta1);
  check_fraction(common.function, "beta2", beta2);
  check_size(common.function, "eps", eps);
  const LambRule rule{beta1, beta2, eps, bias_correction};
  return by_tensor<cpu::LayerwiseStep<LambRule>>(rule, common);
}

RulePointer lars(const Common& common, double momentum, double trust_coefficient, double eps, bool nesterov,
                 bool lr_in_momentum) {
  check_size(common.function, "momentum", momentum);
  check_size(common.function, "trust_coefficient", trust_coefficient);
  check_size(common.function, "eps", eps);
  if (momentum == 0.0) {
    if (nesterov) fail(common.function, "momentum", "above 0 with nesterov", "0");
    const LarsRule<false> rule{momentum, trust_coefficient, eps, nesterov, lr_in_momentum};
    return by_tensor<cpu::LayerwiseStep<LarsRule<false>>>(rule, common);
  }
  const LarsRule<true> rule{momentum, trust_coefficient, eps, nesterov, lr_in_momentum};
  return by_tensor<cpu::LayerwiseStep<LarsRule<true>>>(rule, common);
}

RulePointer muon(const Common& common, double momentum, bool nesterov, double a, double b, double c, double eps,
                 std::int64_t ns_steps, bool eps_added) {
  check_fraction(common.function, "momentum", momentum);
  for (const auto& [name, value] : {std::pair("a", a), std::pair("b", b), std::pair("c", c)})
    check_range(common.function, name, value, -1e6, 1e6, "finite");
  check_size(common.function, "eps", eps);
  if (ns_steps < 0 || ns_steps >= 100)
    fail(common.function, "ns_steps", "at least 0 and below 100", std::to_string(ns_steps));
  return by_tensor<cpu::MuonStep>(MuonRule{momentum, a, b, c, eps, ns_steps, nesterov, eps_added}, common);
}

}  // namespace

void bind_rules(py::module_& module) {
  using py::arg;
  define_rule(module, "sgd_rule", &sgd, arg("momentum") = 0.0, arg("dampening") = 0.0, arg("nesterov") = false,
              arg("lr_in_momentum") = false);
  define_rule(module, "adam_rule", &adam, arg("beta1") = 0.9, arg("beta2") = 0.999, arg("eps") = 1e-8,
              arg("bias_correction") = true, arg("eps_hat") = false, arg("amsgrad") = false);
  define_rule(module, "rmsprop_rule", &rmsprop, arg("alpha") = 0.99, arg("eps") = 1e-8, arg("momentum") = 0.0,
              arg("centered") = false, arg("eps_inside_sqrt") = false, arg("lr_in_momentum") = false);
  define_rule(module, "adagrad_rule", &adagrad, arg("lr_decay") = 0.0, arg("eps") = 1e-10,
              arg("eps_inside_sqrt") = false);
  define_rule(module, "lamb_rule", &lamb, arg("beta1") = 0.9, arg("beta2") = 0.999, arg("eps") = 1e-6,
              arg("bias_correction") = true);
  define_rule(module, "lars_rule", &lars, arg("momentum") = 0.9, arg("trust_coefficient") = 0.001, arg("eps") = 0.0,
              arg("nesterov") = false, arg("lr_in_momentum") = false);
  define_rule(module, "muon_rule", &muon, arg("momentum") = 0.95, arg("nesterov") = true, arg("a") = 3.4445,
              arg("b") = -4.775, arg("c") = 2.0315, arg("eps") = 1e-7, arg("ns_steps") = 5, arg("eps_added") = false);
  define_rule(module, "lion_rule", &lion, arg("beta1") = 0.9, arg("beta2") = 0.99);
}

}  // namespace fnn::bindings
