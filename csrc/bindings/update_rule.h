// UpdateRule: a rule with all its options, checked once, for whoever steps again and again.
#pragma once
#include <memory>
#include <string>
#include <type_traits>

#include "bindings/tensor_updates.h"
#include "cpu/layerwise.h"
#include "cpu/muon.h"

namespace fnn::bindings {

// What a step reads: numbers in arrays, so that a recorded step can be replayed with others. found_inf may be null.
struct StepNumbers {
  const double* lr;
  const std::int64_t* t;
  float* found_inf;
};

class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  // How many lists of states a table needs.
  virtual int slots() const = 0;
  virtual bool needs_rows() const { return false; }
  // Whether each element is treated by itself, nothing having to be known of the others.
  virtual bool elementwise() const = 0;
  // A step over all tensors of the table, whose gradients count grad_scale times. A tape that records keeps reading
  // lr, t and found_inf where they lie.
  virtual void step(const TensorTable& table, const StepNumbers& numbers, double grad_scale) const = 0;
  // Updates of the table's tensors one by one; for rules that are elementwise.
  virtual std::unique_ptr<TensorUpdates> updates(const TensorTable& /*table*/, const double* /*lr*/,
                                                 const std::int64_t* /*t*/) const {
    return nullptr;
  }
};

inline void check_table(const char* function, const UpdateRule& rule, const TensorTable& table) {
  if (table.slots() != rule.slots()) {
    fail(function, "table", "a TensorTable with " + std::to_string(rule.slots()) + " lists of states for this rule",
         std::to_string(table.slots()));
  }
  if (rule.needs_rows() && !table.has_rows())
    fail(function, "table", "a TensorTable of matrices for this rule", "one without set_rows");
}

// On the threads that the table asks for.
template <class K>
void launch_step(const TensorTable& table, const K& kernel) {
  table.borrowed() && tape::recording() == nullptr ? launch_borrowing(kernel) : launch(kernel);
}

// A rule whose formula is about one element.
template <class Rule>
class ElementwiseRule : public UpdateRule {
 public:
  ElementwiseRule(const Rule& rule, const cpu::StepOptions& options) : rule_(rule), options_(options) {}
  int slots() const override { return Rule::kSlots; }
  bool elementwise() const override { return options_.clip_norm == 0.f && !options_.skip_nonfinite; }
  void step(const TensorTable& table, const StepNumbers& numbers, double grad_scale) const override {
    cpu::StepOptions options = options_;
    options.scale *= static_cast<float>(grad_scale);
    launch_step(table,
                cpu::OptimizerStep<Rule>(table.list(), rule_, options, numbers.lr, numbers.t, numbers.found_inf));
  }
  std::unique_ptr<TensorUpdates> updates(const TensorTable& table, const double* lr,
                                         const std::int64_t* t) const override {
    return std::make_unique<RuleUpdates<Rule>>(table, rule_, options_, lr, t);
  }

 private:
  Rule rule_;
  cpu::StepOptions options_;
};

// A rule for which several elements have to be known.
template <class Rule, class Kernel>
class TensorRule : public UpdateRule {
 public:
  TensorRule(const Rule& rule, const cpu::StepOptions& options) : rule_(rule), options_(options) {}
  int slots() const override { return Rule::kSlots; }
  bool needs_rows() const override { return std::is_same_v<Rule, MuonRule>; }
  bool elementwise() const override { return false; }
  void step(const TensorTable& table, const StepNumbers& numbers, double grad_scale) const override {
    cpu::StepOptions options = options_;
    options.scale *= static_cast<float>(grad_scale);
    launch_step(table, Kernel(table.list(), rule_, options, numbers.lr, numbers.t, numbers.found_inf));
  }

 private:
  Rule rule_;
  cpu::StepOptions options_;
};

}  // namespace fnn::bindings
