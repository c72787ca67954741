// UpdateRule: a rule with all its options, checked once, for callers who step again and again with other tables.
#pragma once
#include <string>

#include "bindings/launch.h"
#include "bindings/tensor_table.h"

namespace fnn::bindings {

class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  // A step over all tensors of the table; the gradients count grad_scale times.
  virtual void step(const TensorTable& table, double lr, std::int64_t step, double grad_scale) const = 0;
};

template <class Rule>
class BoundRule : public UpdateRule {
 public:
  BoundRule(const char* function, const Rule& rule, const cpu::StepOptions& options)
      : function_(function), rule_(rule), options_(options) {}
  void step(const TensorTable& table, double lr, std::int64_t step, double grad_scale) const override {
    if (step < 1) fail(function_, "step", "at least 1", std::to_string(step));
    if (table.slots() != Rule::kSlots) {
      fail(function_, "table", "a TensorTable with " + std::to_string(Rule::kSlots) + " lists of states",
           std::to_string(table.slots()));
    }
    if (tape::recording() != nullptr) fail(function_, "step", "called while no tape records", "one that does");
    cpu::StepOptions options = options_;
    options.scale *= static_cast<float>(grad_scale);
    const cpu::OptimizerStep<Rule> kernel(table.list(), rule_, options, &lr, &step);
    table.borrowed() ? launch_borrowing(kernel) : launch(kernel);
  }

 private:
  const char* function_;
  Rule rule_;
  cpu::StepOptions options_;
};

}  // namespace fnn::bindings
