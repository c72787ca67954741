// UpdateRule: a rule with all its options, checked once, for whoever steps again and again.
#pragma once
#include <memory>
#include <string>
#include <type_traits>

#include "bindings/tensor_updates.h"
#include "cpu/layerwise.h"
#include "cpu/muon.h"

namespace fnn::bindings {

// What a step reads: numbers in arrays, so that a recorded step can be replayed with others. found_inf, square and
// loss_scale may be null, and by_value says that lr and t aren't on the GPU: see StepArguments.
struct StepNumbers {
  const double* lr;
  const std::int64_t* t;
  float* found_inf;
  const double* square;
  bool by_value = false;
  const float* loss_scale = nullptr;
};

// On the threads that the table asks for.
template <class K>
void launch_step(const TensorTable& table, const K& kernel) {
  table.borrowed() && !recording() ? launch_borrowing(kernel) : launch(kernel);
}

template <class Kernel, class Rule>
void launch_rule(const TensorTable& table, const Rule& rule, const cpu::StepOptions& options,
                 const StepNumbers& numbers) {
  Kernel kernel(table.list(), rule, options, numbers.lr, numbers.t, numbers.found_inf, numbers.square);
  kernel.by_value = numbers.by_value;
  kernel.loss_scale = numbers.loss_scale;
  launch_step(table, kernel);
}

class UpdateRule {
 public:
  explicit UpdateRule(const cpu::StepOptions& options) : options_(options) {}
  virtual ~UpdateRule() = default;
  // How many lists of states a table needs.
  virtual int slots() const = 0;
  virtual bool needs_rows() const { return false; }
  // Whether each element is treated by itself, nothing having to be known of the others.
  virtual bool elementwise() const = 0;
  // A step over all tensors of the table, whose gradients count grad_scale times. A tape that records keeps reading
  // the numbers where they lie.
  virtual void step(const TensorTable& table, const StepNumbers& numbers, double grad_scale) const = 0;
  // Adds the squares of the table's gradients, as clipping by norm sees them.
  void add_squares(const TensorTable& table, double* square, const float* loss_scale) const {
    cpu::AddSquares kernel(table.list(), options(), square);
    kernel.loss_scale = loss_scale;
    launch_step(table, kernel);
  }
  // Updates of the table's tensors one by one; for rules that are elementwise.
  virtual std::unique_ptr<TensorUpdates> updates(const TensorTable& /*table*/, const double* /*lr*/,
                                                 const std::int64_t* /*t*/) const {
    return nullptr;
  }

 protected:
  const cpu::StepOptions& options() const { return options_; }
  cpu::StepOptions options(double grad_scale) const {
    cpu::StepOptions scaled = options_;
    scaled.scale *= static_cast<float>(grad_scale);
    return scaled;
  }

 private:
  cpu::StepOptions options_;
};

inline void check_table(const char* function, const UpdateRule& rule, const TensorTable& table) {
  if (table.slots() != rule.slots()) {
    fail(function, "table", "a TensorTable with " + std::to_string(rule.slots()) + " lists of states for this rule",
         std::to_string(table.slots()));
  }
  if (rule.needs_rows() && !table.has_rows())
    fail(function, "table", "a TensorTable of matrices for this rule", "one without set_rows");
}

// A rule whose formula is about one element.
template <class Rule>
class ElementwiseRule : public UpdateRule {
 public:
  ElementwiseRule(const Rule& rule, const cpu::StepOptions& options) : UpdateRule(options), rule_(rule) {}
  int slots() const override { return Rule::kSlots; }
  bool elementwise() const override { return options().clip_norm == 0.f && !options().skip_nonfinite; }
  void step(const TensorTable& table, const StepNumbers& numbers, double grad_scale) const override {
    launch_rule<cpu::OptimizerStep<Rule>>(table, rule_, options(grad_scale), numbers);
  }
  std::unique_ptr<TensorUpdates> updates(const TensorTable& table, const double* lr,
                                         const std::int64_t* t) const override {
    return std::make_unique<RuleUpdates<Rule>>(table, rule_, options(), lr, t);
  }

 private:
  Rule rule_;
};

// A rule for which several elements have to be known.
template <class Rule, class Kernel>
class TensorRule : public UpdateRule {
 public:
  TensorRule(const Rule& rule, const cpu::StepOptions& options) : UpdateRule(options), rule_(rule) {}
  int slots() const override { return Rule::kSlots; }
  bool needs_rows() const override { return std::is_same_v<Rule, MuonRule>; }
  bool elementwise() const override { return false; }
  void step(const TensorTable& table, const StepNumbers& numbers, double grad_scale) const override {
    launch_rule<Kernel>(table, rule_, options(grad_scale), numbers);
  }

 private:
  Rule rule_;
};

}  // namespace fnn::bindings
