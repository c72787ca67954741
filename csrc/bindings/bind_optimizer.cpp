// TensorTable, a step of a rule over it, and updates of its tensors one by one.
#include <memory>
#include <string>

#include "bindings/update_rule.h"

namespace fnn::bindings {
namespace {

using py::handle;

// What a step reads: numbers in arrays, so that a recorded step can be replayed with others.
struct StepNumbers {
  const double* lr;
  const std::int64_t* step;

  StepNumbers(const char* function, const UpdateRule& rule, const TensorTable& table, handle lr_array,
              handle step_array) {
    Border border(function);
    lr = border.in<double>("lr", lr_array, {1}).ptr();
    step = border.in<std::int64_t>("step", step_array, {1}).ptr();
    check_slots(function, rule, table);
  }
};

void check_step(const char* function, std::int64_t step) {
  if (step < 1) fail(function, "step", "at least 1", std::to_string(step));
}

void update(const UpdateRule& rule, const TensorTable& table, handle lr, handle step) {
  const StepNumbers numbers("update", rule, table, lr, step);
  check_step("update", *numbers.step);
  rule.step(table, numbers.lr, numbers.step, 1.0);
}

std::unique_ptr<TensorUpdates> updates(const UpdateRule& rule, const TensorTable& table, handle lr, handle step) {
  const StepNumbers numbers("updates", rule, table, lr, step);
  if (!table.list().formats.all_float32()) fail("updates", "table", "of float32 arrays", "one of other formats");
  return rule.updates(table, numbers.lr, numbers.step);
}

void step_now(const UpdateRule& rule, const TensorTable& table, double lr, std::int64_t step, double grad_scale) {
  check_step("UpdateRule.step", step);
  check_slots("UpdateRule.step", rule, table);
  if (tape::recording() != nullptr)
    fail("UpdateRule.step", "the step", "made while no tape records: call update", "one that would be recorded");
  rule.step(table, &lr, &step, grad_scale);
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
  py::class_<UpdateRule>(module, "UpdateRule", py::module_local())
      .def_property_readonly("slots", &UpdateRule::slots)
      .def("step", &step_now, arg("table"), arg("lr"), arg("step"), arg("grad_scale") = 1.0);
  module.def("update", &update, arg("rule"), arg("table"), arg("lr"), arg("step"));
  module.def("updates", &updates, arg("rule"), arg("table"), arg("lr"), arg("step"), py::keep_alive<0, 2>(),
             py::keep_alive<0, 3>(), py::keep_alive<0, 4>());
}

}  // namespace fnn::bindings
