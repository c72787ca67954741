// TensorTable and the optimizer steps over it.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "bindings/convert.h"
#include "bindings/launch.h"
#include "cpu/optimizer.h"

namespace fnn::bindings {
namespace {

using py::handle;

constexpr const char* kTable = "TensorTable";

// The tensors that an optimizer steps over: checked once, so that a step is one cheap call.
class TensorTable {
 public:
  TensorTable(const py::list& params, const py::list& grads, const py::list& states, handle l1, handle l2, handle decay,
              handle lr_scale)
      : slots_(static_cast<int>(states.size())), owners_{params, grads, states} {
    if (slots_ > cpu::kMaxSlots) fail(kTable, "states", "at most 3 lists", std::to_string(slots_));
    check_length("grads", grads, params.size());
    for (int k = 0; k < slots_; ++k)
      check_length("states[" + std::to_string(k) + "]", slot_list(states, k), params.size());
    for (std::size_t i = 0; i < params.size(); ++i) add(params, grads, states, i);
    check_apart();
    const auto count = static_cast<std::int64_t>(params.size());
    Border border(kTable);
    const auto copy = [&](const char* name, handle array, float cpu::OptimizerTensor::* field) {
      if (array.is_none()) return;
      const float* values = border.in<float>(name, array, {count}).ptr();
      for (std::int64_t i = 0; i < count; ++i) tensors_[static_cast<std::size_t>(i)].*field = values[i];
    };
    copy("l1", l1, &cpu::OptimizerTensor::l1);
    copy("l2", l2, &cpu::OptimizerTensor::l2);
    copy("decay", decay, &cpu::OptimizerTensor::decay);
    copy("lr_scale", lr_scale, &cpu::OptimizerTensor::lr_scale);
  }

  int slots() const { return slots_; }
  cpu::TensorList list() const { return {tensors_.data(), static_cast<std::int64_t>(tensors_.size()), elements_}; }

 private:
  struct Extent {
    const char *begin, *end;
    bool written;
    std::string name;
  };

  static py::list slot_list(const py::list& states, int k) {
    if (!py::isinstance<py::list>(states[static_cast<std::size_t>(k)])) {
      fail(kTable, "states", "a list of lists, one for each slot", "something else at " + std::to_string(k));
    }
    return states[static_cast<std::size_t>(k)].cast<py::list>();
  }

  static void check_length(const std::string& name, const py::list& list, std::size_t count) {
    if (list.size() == count) return;
    fail(kTable, name, "as many arrays as params, " + std::to_string(count), std::to_string(list.size()));
  }

  void add(const py::list& params, const py::list& grads, const py::list& states, std::size_t i) {
    const std::string at = "[" + std::to_string(i) + "]";
    const std::string param_name = "params" + at, grad_name = "grads" + at;
    Border border(kTable);
    const auto param = border.out_any_shape<float>(param_name.c_str(), params[i]);
    const auto grad = border.in_like<float>(grad_name.c_str(), grads[i], param);
    cpu::OptimizerTensor tensor{param.ptr(), grad.ptr(), {}, elements_, param.count(), 0.f, 0.f, 1.f, 1.f};
    remember(param, true, param_name);
    remember(grad, false, grad_name);
    for (int k = 0; k < slots_; ++k) {
      const std::string name = "states[" + std::to_string(k) + "]" + at;
      const auto state = border.out_like<float>(name.c_str(), slot_list(states, k)[i], param);
      tensor.slots[k] = state.ptr();
      remember(state, true, name);
    }
    elements_ += tensor.count;
    tensors_.push_back(tensor);
  }

  void remember(const RawArray& array, bool written, const std::string& name) {
    if (array.count() == 0) return;
    const char* begin = static_cast<const char*>(array.data);
    extents_.push_back({begin, begin + array.count() * array.item_size, written, name});
  }

  // No array that is written may overlap another one, of whatever tensor.
  void check_apart() {
    std::sort(extents_.begin(), extents_.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
    const Extent *furthest = nullptr, *furthest_written = nullptr;
    for (const Extent& extent : extents_) {
      const Extent* before = extent.written ? furthest : furthest_written;
      if (before != nullptr && before->end > extent.begin) {
        fail(kTable, extent.name, "memory apart from " + before->name, "arrays that overlap");
      }
      if (furthest == nullptr || extent.end > furthest->end) furthest = &extent;
      if (extent.written && (furthest_written == nullptr || extent.end > furthest_written->end)) {
        furthest_written = &extent;
      }
    }
    extents_.clear();
  }

  int slots_;
  std::int64_t elements_ = 0;
  std::vector<cpu::OptimizerTensor> tensors_;
  std::vector<py::object> owners_;  // keep the arrays alive
  std::vector<Extent> extents_;
};

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

template <class Rule>
void run_step(const char* function, const TensorTable& table, handle lr, handle step, const Rule& rule,
              const Common& common) {
  Border border(function);
  const double* rate = border.in<double>("lr", lr, {1}).ptr();
  const std::int64_t* count = border.in<std::int64_t>("step", step, {1}).ptr();
  if (*count < 1) border.fail("step", "at least 1", std::to_string(*count));
  if (table.slots() != Rule::kSlots) {
    border.fail("table", "a TensorTable with " + std::to_string(Rule::kSlots) + " lists of states for these arguments",
                std::to_string(table.slots()));
  }
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
  launch(cpu::OptimizerStep<Rule>(table.list(), rule, options, rate, count));
}

void sgd_step(const TensorTable& table, handle lr, handle step, double momentum, double dampening, bool nesterov,
              bool lr_in_momentum, double weight_decay, bool decoupled, bool maximize, double grad_scale,
              double clip_norm, double clip_value, bool clip_norm_per_tensor) {
  constexpr const char* kName = "sgd_step";
  const Common common{weight_decay, decoupled, maximize, grad_scale, clip_norm, clip_value, clip_norm_per_tensor};
  check_size(kName, "momentum", momentum);
  if (momentum == 0.0) {  // without a buffer lr_in_momentum makes no difference
    if (nesterov) fail(kName, "momentum", "above 0 with nesterov", "0");
    if (dampening != 0.0) fail(kName, "momentum", "above 0 with dampening", "0");
    return run_step(kName, table, lr, step, SgdRule{}, common);
  }
  if (nesterov && dampening != 0.0) fail(kName, "dampening", "0 with nesterov", std::to_string(dampening));
  run_step(kName, table, lr, step, MomentumRule{momentum, dampening, nesterov, lr_in_momentum}, common);
}

void adam_step(const TensorTable& table, handle lr, handle step, double beta1, double beta2, double eps,
               bool bias_correction, bool eps_hat, bool amsgrad, double weight_decay, bool decoupled, bool maximize,
               double grad_scale, double clip_norm, double clip_value, bool clip_norm_per_tensor) {
  constexpr const char* kName = "adam_step";
  const Common common{weight_decay, decoupled, maximize, grad_scale, clip_norm, clip_value, clip_norm_per_tensor};
  check_fraction(kName, "beta1", beta1);
  check_fraction(kName, "beta2", beta2);
  check_size(kName, "eps", eps);
  if (amsgrad) {
    run_step(kName, table, lr, step, AdamRule<true>{beta1, beta2, eps, bias_correction, eps_hat}, common);
  } else {
    run_step(kName, table, lr, step, AdamRule<false>{beta1, beta2, eps, bias_correction, eps_hat}, common);
  }
}

void rmsprop_step(const TensorTable& table, handle lr, handle step, double alpha, double eps, double momentum,
                  bool centered, bool eps_inside_sqrt, bool lr_in_momentum, double weight_decay, bool decoupled,
                  bool maximize, double grad_scale, double clip_norm, double clip_value, bool clip_norm_per_tensor) {
  constexpr const char* kName = "rmsprop_step";
  const Common common{weight_decay, decoupled, maximize, grad_scale, clip_norm, clip_value, clip_norm_per_tensor};
  check_fraction(kName, "alpha", alpha);
  check_size(kName, "eps", eps);
  check_size(kName, "momentum", momentum);
  const auto run = [&](auto rule) {
    rule.alpha = alpha;
    rule.eps = eps;
    rule.momentum = momentum;
    rule.eps_inside_sqrt = eps_inside_sqrt;
    rule.lr_in_momentum = lr_in_momentum;
    run_step(kName, table, lr, step, rule, common);
  };
  if (centered) {
    momentum != 0.0 ? run(RmspropRule<true, true>{}) : run(RmspropRule<true, false>{});
  } else {
    momentum != 0.0 ? run(RmspropRule<false, true>{}) : run(RmspropRule<false, false>{});
  }
}

}  // namespace

void bind_optimizer(py::module_& module) {
  using py::arg;
  py::class_<TensorTable>(module, "TensorTable")
      .def(py::init<const py::list&, const py::list&, const py::list&, handle, handle, handle, handle>(), arg("params"),
           arg("grads"), arg("states"), arg("l1") = py::none(), arg("l2") = py::none(), arg("decay") = py::none(),
           arg("lr_scale") = py::none());
  const auto define = [&module](const char* name, auto function, auto... own) {
    module.def(name, function, arg("table"), arg("lr"), arg("step"), own..., arg("weight_decay") = 0.0,
               arg("decoupled") = false, arg("maximize") = false, arg("grad_scale") = 1.0, arg("clip_norm") = 0.0,
               arg("clip_value") = 0.0, arg("clip_norm_per_tensor") = false);
  };
  define("sgd_step", &sgd_step, arg("momentum") = 0.0, arg("dampening") = 0.0, arg("nesterov") = false,
         arg("lr_in_momentum") = false);
  define("adam_step", &adam_step, arg("beta1") = 0.9, arg("beta2") = 0.999, arg("eps") = 1e-8,
         arg("bias_correction") = true, arg("eps_hat") = false, arg("amsgrad") = false);
  define("rmsprop_step", &rmsprop_step, arg("alpha") = 0.99, arg("eps") = 1e-8, arg("momentum") = 0.0,
         arg("centered") = false, arg("eps_inside_sqrt") = false, arg("lr_in_momentum") = false);
}

}  // namespace fnn::bindings
