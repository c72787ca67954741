// UpdateRule: a rule with all its options, checked once, for whoever steps again and again.
#pragma once
#include <memory>
#include <string>

#include "bindings/tensor_updates.h"

namespace fnn::bindings {

class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  // How many lists of states a table needs.
  virtual int slots() const = 0;
  // A step over all tensors of the table, whose gradients count grad_scale times. A tape that records keeps reading lr
  // and t where they lie.
  virtual void step(const TensorTable& table, const double* lr, const std::int64_t* t, double grad_scale) const = 0;
  // Updates of the table's tensors one by one.
  virtual std::unique_ptr<TensorUpdates> updates(const TensorTable& table, const double* lr,
                                                 const std::int64_t* t) const = 0;
};

inline void check_slots(const char* function, const UpdateRule& rule, const TensorTable& table) {
  if (table.slots() == rule.slots()) return;
  fail(function, "table", "a TensorTable with " + std::to_string(rule.slots()) + " lists of states for this rule",
       std::to_string(table.slots()));
}

// On the threads that the table asks for.
template <class K>
void launch_step(const TensorTable& table, const K& kernel) {
  table.borrowed() && tape::recording() == nullptr ? launch_borrowing(kernel) : launch(kernel);
}

// A rule that treats every element by itself.
template <class Rule>
class ElementwiseRule : public UpdateRule {
 public:
  ElementwiseRule(const Rule& rule, const cpu::StepOptions& options) : rule_(rule), options_(options) {}
  int slots() const override { return Rule::kSlots; }
  void step(const TensorTable& table, const double* lr, const std::int64_t* t, double grad_scale) const override {
    cpu::StepOptions options = options_;
    options.scale *= static_cast<float>(grad_scale);
    launch_step(table, cpu::OptimizerStep<Rule>(table.list(), rule_, options, lr, t));
  }
  std::unique_ptr<TensorUpdates> updates(const TensorTable& table, const double* lr,
                                         const std::int64_t* t) const override {
    if (options_.clip_norm > 0.f)
      fail("updates", "rule", "one without clip_norm, as the norm is known only when all gradients are",
           "clip_norm=" + std::to_string(options_.clip_norm));
    return std::make_unique<RuleUpdates<Rule>>(table, rule_, options_, lr, t);
  }

 private:
  Rule rule_;
  cpu::StepOptions options_;
};

}  // namespace fnn::bindings
