// TensorUpdates: what a kernel is handed that updates a parameter as soon as it knows the gradient.
#pragma once
#include <string>
#include <vector>

#include "bindings/launch.h"
#include "bindings/tensor_table.h"
#ifdef FNN_CUDA
#include "cuda/device_tensors.h"
#include "cuda/queued_step.h"
#include "cuda/workspace.h"
#endif

namespace fnn::bindings {

class TensorUpdates {
 public:
  virtual ~TensorUpdates() = default;
  // Reads learning rate and step count; to be called in each step before the updates.
  virtual void prepare() = 0;
  virtual cpu::TensorUpdate of(std::int64_t tensor) const = 0;
  virtual std::int64_t size() const = 0;
};

#ifdef FNN_CUDA

// Everything is read when the update runs.
template <class Rule>
class RuleUpdates : public TensorUpdates, private cuda::QueuedStep {
 public:
  RuleUpdates(const TensorTable& table, const Rule& rule, const cpu::StepOptions& options, const double* lr,
              const std::int64_t* t)
      : list_(table.list()), rule_(rule), options_(options), lr_(lr), t_(t) {}
  void prepare() override {}
  cpu::TensorUpdate of(std::int64_t tensor) const override {
    return {&list_.tensors[tensor], static_cast<const cuda::QueuedStep*>(this), nullptr};
  }
  std::int64_t size() const override { return list_.tensor_count; }

 private:
  void enqueue(const cpu::OptimizerTensor& tensor, const float* grad, cudaStream_t stream) const override {
    cpu::OptimizerTensor one = tensor;
    one.grad = grad;
    one.begin = 0;
    const cuda::Workspace memory(cuda::table_bytes(1), stream);
    const cuda::DeviceTensors device = cuda::put_table(stream, &one, 1, memory.as<void>());
    cpu::TensorList list = list_;
    list.tensors = &one;
    list.tensor_count = 1;
    list.element_count = one.count;
    list.device = &device;
    cuda::run(cpu::OptimizerStep<Rule>(list, rule_, options_, lr_, t_), stream);
  }

  cpu::TensorList list_;
  Rule rule_;
  cpu::StepOptions options_;
  const double* lr_;
  const std::int64_t* t_;
};

#else

template <class Rule>
class RuleUpdates : public TensorUpdates {
 public:
  RuleUpdates(const TensorTable& table, const Rule& rule, const cpu::StepOptions& options, const double* lr,
              const std::int64_t* t)
      : list_(table.list()), rule_(rule), options_(options), lr_(lr), t_(t) {
    for (std::int64_t i = 0; i < size(); ++i) steps_.emplace_back(rule.at(0.0, 1), list_.tensors[i], options, 0.0);
  }
  void prepare() override {
    if (kOnHost && *t_ < 1) fail("prepare", "step", "at least 1", std::to_string(*t_));
    launch(cpu::PrepareSteps<Rule>(list_, rule_, options_, lr_, t_, steps_.data()));
  }
  cpu::TensorUpdate of(std::int64_t tensor) const override {
    return cpu::tensor_update<Rule>(list_.tensors[tensor], steps_[static_cast<std::size_t>(tensor)]);
  }
  std::int64_t size() const override { return list_.tensor_count; }

 private:
  cpu::TensorList list_;
  Rule rule_;
  cpu::StepOptions options_;
  const double* lr_;
  const std::int64_t* t_;
  std::vector<cpu::TensorStep<Rule>> steps_;
};

#endif

// The update of one tensor, given as (updates, number) or None, which must have `count` elements. A tape that records
// keeps the updates.
inline cpu::TensorUpdate update_argument(const Border& border, const char* name, py::handle given, std::int64_t count) {
  if (given.is_none()) return {};
  const char* wanted = "None or a pair (TensorUpdates, number of the tensor)";
  if (!py::isinstance<py::tuple>(given) || py::len(given) != 2) border.fail(name, wanted, "something else");
  const auto pair = py::reinterpret_borrow<py::tuple>(given);
  if (!py::isinstance<TensorUpdates>(pair[0]) || !py::isinstance<py::int_>(pair[1]))
    border.fail(name, wanted, "a pair of others");
  const auto& updates = pair[0].cast<const TensorUpdates&>();
  const auto tensor = pair[1].cast<std::int64_t>();
  if (tensor < 0 || tensor >= updates.size())
    border.fail(name, "one of " + std::to_string(updates.size()) + " tensors", std::to_string(tensor));
  const cpu::TensorUpdate update = updates.of(tensor);
  if (update.tensor->count != count)
    border.fail(name, "of " + std::to_string(count) + " elements", std::to_string(update.tensor->count));
  keep_while_recorded(pair[0]);
  return update;
}

}  // namespace fnn::bindings
