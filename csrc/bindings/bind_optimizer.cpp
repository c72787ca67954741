// TensorTable, the optimizer steps over it, and updates of its tensors one by one.
#include <cmath>
#include <memory>
#include <string>

#include "bindings/launch.h"
#include "bindings/tensor_updates.h"

namespace fnn::bindings {
namespace {

using py::handle;

// The arguments that all steps share, in the order of their signature.
struct Common {
  double weight_decay;
  bool decoupled, maximize;
  double grad_scale, clip_norm, clip_value;
  bool clip_norm_per_tensor;
};

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

cpu::StepOptions checked_options(const char* function, const Common& common) {
  check_size(function, "weight_decay", common.weight_decay);
  check_size(function, "clip_norm", common.clip_norm);
  check_size(function, "clip_value", common.clip_value);
  cpu::StepOptions options;
  options.weight_decay = common.weight_decay;
  options.decoupled = common.decoupled;
  options.scale = static_cast<float>(common.maximize ? -common.grad_scale : common.grad_scale);
  options.clip_norm = static_cast<float>(common.clip_norm);
  options.clip_value = static_cast<float>(common.clip_value);
  options.clip_norm_per_tensor = common.clip_norm_per_tensor;
  return options;
}

// What is made of a rule: a step over the whole table, at once ...
struct StepNow {
  static constexpr const char *kSgd = "sgd_step", *kAdam = "adam_step", *kRmsprop = "rmsprop_step";
  using Result = void;
  template <class Rule>
  static void use(const char* function, const TensorTable& table, const double* lr, const std::int64_t* step,
                  const Rule& rule, const cpu::StepOptions& options) {
    if (*step < 1) fail(function, "step", "at least 1", std::to_string(*step));
    launch(cpu::OptimizerStep<Rule>(table.list(), rule, options, lr, step));
  }
};
// ... or the update of one tensor after the other, later.
struct UpdateLater {
  static constexpr const char *kSgd = "sgd_updates", *kAdam = "adam_updates", *kRmsprop = "rmsprop_updates";
  using Result = std::unique_ptr<TensorUpdates>;
  template <class Rule>
  static Result use(const char* function, const TensorTable& table, const double* lr, const std::int64_t* step,
                    const Rule& rule, const cpu::StepOptions& options) {
    if (options.clip_norm > 0.f)
      fail(function, "clip_norm", "0, as the norm is known only when all gradients are",
           std::to_string(options.clip_norm));
    return std::make_unique<RuleUpdates<Rule>>(table, rule, options, lr, step);
  }
};

template <class Use, class Rule>
typename Use::Result use(const char* function, const TensorTable& table, handle lr, handle step, const Rule& rule,
                         const Common& common) {
  Border border(function);
  const double* rate = border.in<double>("lr", lr, {1}).ptr();
  const std::int64_t* count = border.in<std::int64_t>("step", step, {1}).ptr();
  if (table.slots() != Rule::kSlots) {
    border.fail("table", "a TensorTable with " + std::to_string(Rule::kSlots) + " lists of states for these arguments",
                std::to_string(table.slots()));
  }
  return Use::use(function, table, rate, count, rule, checked_options(function, common));
}

template <class Use>
typename Use::Result sgd(const TensorTable& table, handle lr, handle step, double momentum, double dampening,
                         bool nesterov, bool lr_in_momentum, double weight_decay, bool decoupled, bool maximize,
                         double grad_scale, double clip_norm, double clip_value, bool clip_norm_per_tensor) {
  const char* name = Use::kSgd;
  const Common common{weight_decay, decoupled, maximize, grad_scale, clip_norm, clip_value, clip_norm_per_tensor};
  check_size(name, "momentum", momentum);
  if (momentum == 0.0) {  // without a buffer lr_in_momentum makes no difference
    if (nesterov) fail(name, "momentum", "above 0 with nesterov", "0");
    if (dampening != 0.0) fail(name, "momentum", "above 0 with dampening", "0");
    return use<Use>(name, table, lr, step, SgdRule{}, common);
  }
  if (nesterov && dampening != 0.0) fail(name, "dampening", "0 with nesterov", std::to_string(dampening));
  return use<Use>(name, table, lr, step, MomentumRule{momentum, dampening, nesterov, lr_in_momentum}, common);
}

template <class Use>
typename Use::Result adam(const TensorTable& table, handle lr, handle step, double beta1, double beta2, double eps,
                          bool bias_correction, bool eps_hat, bool amsgrad, double weight_decay, bool decoupled,
                          bool maximize, double grad_scale, double clip_norm, double clip_value,
                          bool clip_norm_per_tensor) {
  const char* name = Use::kAdam;
  const Common common{weight_decay, decoupled, maximize, grad_scale, clip_norm, clip_value, clip_norm_per_tensor};
  check_fraction(name, "beta1", beta1);
  check_fraction(name, "beta2", beta2);
  check_size(name, "eps", eps);
  if (amsgrad) {
    return use<Use>(name, table, lr, step, AdamRule<true>{beta1, beta2, eps, bias_correction, eps_hat}, common);
  }
  return use<Use>(name, table, lr, step, AdamRule<false>{beta1, beta2, eps, bias_correction, eps_hat}, common);
}

template <class Use>
typename Use::Result rmsprop(const TensorTable& table, handle lr, handle step, double alpha, double eps,
                             double momentum, bool centered, bool eps_inside_sqrt, bool lr_in_momentum,
                             double weight_decay, bool decoupled, bool maximize, double grad_scale, double clip_norm,
                             double clip_value, bool clip_norm_per_tensor) {
  const char* name = Use::kRmsprop;
  const Common common{weight_decay, decoupled, maximize, grad_scale, clip_norm, clip_value, clip_norm_per_tensor};
  check_fraction(name, "alpha", alpha);
  check_size(name, "eps", eps);
  check_size(name, "momentum", momentum);
  const auto with = [&](auto rule) {
    rule.alpha = alpha;
    rule.eps = eps;
    rule.momentum = momentum;
    rule.eps_inside_sqrt = eps_inside_sqrt;
    rule.lr_in_momentum = lr_in_momentum;
    return use<Use>(name, table, lr, step, rule, common);
  };
  if (centered) return momentum != 0.0 ? with(RmspropRule<true, true>{}) : with(RmspropRule<true, false>{});
  return momentum != 0.0 ? with(RmspropRule<false, true>{}) : with(RmspropRule<false, false>{});
}

}  // namespace

void bind_optimizer(py::module_& module) {
  using py::arg;
  py::class_<TensorTable>(module, "TensorTable", py::module_local())  // several levels may be loaded
      .def(py::init<const py::list&, const py::list&, const py::list&, handle, handle, handle, handle>(), arg("params"),
           arg("grads"), arg("states"), arg("l1") = py::none(), arg("l2") = py::none(), arg("decay") = py::none(),
           arg("lr_scale") = py::none())
      .def_static("of_arrays", &TensorTable::of_arrays, arg("params"), arg("grads"), arg("states"), arg("tensor_type"))
      .def_static("of_addresses", &TensorTable::of_addresses, arg("params"), arg("grads"), arg("states"), arg("counts"),
                  arg("dtypes") = py::dict(), arg("masters") = py::none(), arg("l1") = py::none(),
                  arg("l2") = py::none(), arg("decay") = py::none(), arg("lr_scale") = py::none(),
                  arg("borrowed") = false)
      .def("matches", &TensorTable::matches, arg("params"), arg("grads"), arg("states"))
      .def("move_grads", &TensorTable::move_grads, arg("grads"));
  py::class_<TensorUpdates>(module, "TensorUpdates", py::module_local())
      .def("prepare", &TensorUpdates::prepare)
      .def("__len__", &TensorUpdates::size);
  const auto define = [&module](const char* name, auto function, const auto&... extra) {
    module.def(name, function, arg("table"), arg("lr"), arg("step"), extra..., arg("weight_decay") = 0.0,
               arg("decoupled") = false, arg("maximize") = false, arg("grad_scale") = 1.0, arg("clip_norm") = 0.0,
               arg("clip_value") = 0.0, arg("clip_norm_per_tensor") = false);
  };
  const auto define_both = [&define](auto now, auto later, const char* name_now, const char* name_later, auto... own) {
    define(name_now, now, own...);
    define(name_later, later, own..., py::keep_alive<0, 1>(), py::keep_alive<0, 2>(), py::keep_alive<0, 3>());
  };
  define_both(&sgd<StepNow>, &sgd<UpdateLater>, StepNow::kSgd, UpdateLater::kSgd, arg("momentum") = 0.0,
              arg("dampening") = 0.0, arg("nesterov") = false, arg("lr_in_momentum") = false);
  define_both(&adam<StepNow>, &adam<UpdateLater>, StepNow::kAdam, UpdateLater::kAdam, arg("beta1") = 0.9,
              arg("beta2") = 0.999, arg("eps") = 1e-8, arg("bias_correction") = true, arg("eps_hat") = false,
              arg("amsgrad") = false);
  define_both(&rmsprop<StepNow>, &rmsprop<UpdateLater>, StepNow::kRmsprop, UpdateLater::kRmsprop, arg("alpha") = 0.99,
              arg("eps") = 1e-8, arg("momentum") = 0.0, arg("centered") = false, arg("eps_inside_sqrt") = false,
              arg("lr_in_momentum") = false);
}

}  // namespace fnn::bindings
