// TensorTable, a step of a rule over it, and updates of its tensors one by one.
#include <memory>
#include <string>

#include "bindings/update_rule.h"

namespace fnn::bindings {
namespace {

using py::handle;

float* found_inf_argument(Border& border, handle found_inf) {
  return found_inf.is_none() ? nullptr : border.out<float>("found_inf", found_inf, {1}).ptr();
}

const float* loss_scale_argument(Border& border, handle loss_scale) {
  return loss_scale.is_none() ? nullptr : border.in<float>("loss_scale", loss_scale, {1}).ptr();
}

// For a step that may be recorded.
const float* later_loss_scale(const char* function, handle loss_scale) {
  Border border(function);
  if (kOnHost && !loss_scale.is_none())
    border.fail("loss_scale", "None on the CPU, whose rules take a grad_scale", "an array");
  return loss_scale_argument(border, loss_scale);
}

// A graph that is captured needs the table.
void keep_table(const TensorTable& table) {
  if (!kOnHost && recording()) keep_while_recorded(py::cast(&table, py::return_value_policy::reference));
}

StepNumbers checked_numbers(const char* function, const UpdateRule& rule, const TensorTable& table, handle lr,
                            handle step, handle found_inf, handle square) {
  Border border(function);
  const StepNumbers numbers{border.in<double>("lr", lr, {1}).ptr(), border.in<std::int64_t>("step", step, {1}).ptr(),
                            found_inf_argument(border, found_inf),
                            square.is_none() ? nullptr : border.in<double>("square", square, {1}).ptr()};
  check_table(function, rule, table);
  return numbers;
}

void check_step(const char* function, std::int64_t step) {
  if (step < 1) fail(function, "step", "at least 1", std::to_string(step));
}

void update(const UpdateRule& rule, const TensorTable& table, handle lr, handle step, handle found_inf, handle square,
            handle loss_scale) {
  StepNumbers numbers = checked_numbers("update", rule, table, lr, step, found_inf, square);
  if constexpr (kOnHost) check_step("update", *numbers.t);
  numbers.loss_scale = later_loss_scale("update", loss_scale);
  keep_table(table);
  rule.step(table, numbers, 1.0);
}

std::unique_ptr<TensorUpdates> updates(const UpdateRule& rule, const TensorTable& table, handle lr, handle step) {
  const StepNumbers numbers = checked_numbers("updates", rule, table, lr, step, py::none(), py::none());
  if (!rule.elementwise())
    fail("updates", "rule", "one that treats each element by itself, without clip_norm and skip_nonfinite", "another");
  return rule.updates(table, numbers.lr, numbers.t);
}

void step_now(const UpdateRule& rule, const TensorTable& table, double lr, std::int64_t step, double grad_scale,
              handle found_inf, handle loss_scale) {
  const char* name = "UpdateRule.step";
  check_step(name, step);
  check_table(name, rule, table);
  if (recording()) fail(name, "the step", "made while no tape records: call update", "one that would be recorded");
  Border border(name);
  StepNumbers numbers{&lr, &step, found_inf_argument(border, found_inf), nullptr, true, nullptr};
  const float* scale = loss_scale_argument(border, loss_scale);
  if constexpr (kOnHost)
    grad_scale = scale == nullptr ? grad_scale : grad_scale / static_cast<double>(*scale);
  else
    numbers.loss_scale = scale;
  rule.step(table, numbers, grad_scale);
}

void add_squares(const UpdateRule& rule, const TensorTable& table, handle square, handle loss_scale) {
  Border border("add_squares");
  keep_table(table);
  rule.add_squares(table, border.out<double>("square", square, {1}).ptr(), later_loss_scale("add_squares", loss_scale));
}

void end_update(handle found_inf, handle step, handle skipped) {
  Border border("end_update");
  float* found = border.out<float>("found_inf", found_inf, {1}).ptr();
  std::int64_t* count = border.out<std::int64_t>("step", step, {1}).ptr();
  launch(cpu::EndUpdate(found, count, border.out<std::int64_t>("skipped", skipped, {1}).ptr()));
  border.done();
}

}  // namespace

void bind_optimizer(py::module_& module) {
  using py::arg;
  py::class_<TensorTable>(module, "TensorTable", py::module_local())  // several levels may be loaded
      .def(py::init<const py::list&, const py::list&, const py::list&, handle, handle, handle, handle>(), arg("params"),
           arg("grads"), arg("states"), arg("l1") = py::none(), arg("l2") = py::none(), arg("decay") = py::none(),
           arg("lr_scale") = py::none())
      .def_static("of_addresses", &TensorTable::of_addresses, arg("params"), arg("grads"), arg("states"), arg("counts"),
                  arg("dtypes") = py::dict(), arg("scales") = py::list(), arg("masters") = py::none(),
                  arg("seed") = py::none(), arg("l1") = py::none(), arg("l2") = py::none(), arg("decay") = py::none(),
                  arg("lr_scale") = py::none(), arg("borrowed") = false)
      .def("matches", &TensorTable::matches, arg("params"), arg("grads"), arg("states"))
      .def("set_adapts", &TensorTable::set_adapts, arg("adapts"))
      .def("set_rows", &TensorTable::set_rows, arg("rows"))
      .def("move_grads", &TensorTable::move_grads, arg("grads"));
  py::class_<UpdateRule>(module, "UpdateRule", py::module_local())
      .def_property_readonly("slots", &UpdateRule::slots)
      .def_property_readonly("elementwise", &UpdateRule::elementwise)
      .def("step", &step_now, arg("table"), arg("lr"), arg("step"), arg("grad_scale") = 1.0,
           arg("found_inf") = py::none(), arg("loss_scale") = py::none());
  module.def("update", &update, arg("rule"), arg("table"), arg("lr"), arg("step"), arg("found_inf") = py::none(),
             arg("square") = py::none(), arg("loss_scale") = py::none());
  module.def("add_squares", &add_squares, arg("rule"), arg("table"), arg("square"), arg("loss_scale") = py::none());
  module.def("end_update", &end_update, arg("found_inf"), arg("step"), arg("skipped"));
  py::class_<TensorUpdates>(module, "TensorUpdates", py::module_local())
      .def("prepare", &TensorUpdates::prepare)
      .def("__len__", &TensorUpdates::size);
  module.def("updates", &updates, arg("rule"), arg("table"), arg("lr"), arg("step"), py::keep_alive<0, 2>(),
             py::keep_alive<0, 3>(), py::keep_alive<0, 4>());
}

}  // namespace fnn::bindings
