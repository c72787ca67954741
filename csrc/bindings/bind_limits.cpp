// The submodule `limits`: multiply_add_loop, copy_loop, scale_loop, push_loop
#include <vector>

#include "bindings/convert.h"
#include "bindings/launch.h"
#include "cpu/limits.h"

namespace fnn::bindings {
namespace {

std::int64_t multiply_add_loop(py::handle out, std::int64_t rounds) {
  Border border("multiply_add_loop");
  const int threads = ThreadTeam::instance().size();
  const auto sums = border.out<float>("out", out, {threads});
  border.done();
  const cpu::MultiplyAddLoop kernel{{}, sums.ptr(), rounds};
  launch(kernel);
  return kernel.flops() * threads;
}

void copy_loop(py::handle x, py::handle y, std::int64_t rounds) {
  Border border("copy_loop");
  const auto source = border.in<float>("x", x, {kAny});
  const auto target = border.out<float>("y", y, {source.shape[0]});
  border.done();
  launch(cpu::CopyLoop{{}, source.ptr(), target.ptr(), source.shape[0], rounds});
}

void scale_loop(py::handle x, float scale, std::int64_t rounds) {
  Border border("scale_loop");
  const auto values = border.out<float>("x", x, {kAny});
  border.done();
  launch(cpu::ScaleLoop{{}, values.ptr(), scale, values.shape[0], rounds});
}

void push_loop(const py::sequence& arrays, std::int64_t rounds) {
  Border border("push_loop");
  std::vector<float*> each;
  std::int64_t count = kAny;
  for (const py::handle array : arrays) {
    const auto values = border.out<float>("arrays", array, {count});
    each.push_back(values.ptr());
    count = values.shape[0];
  }
  border.done();
  if (!each.empty()) launch(cpu::PushLoop{{}, each.data(), static_cast<int>(each.size()), count, rounds});
}

}  // namespace

void bind_limits(py::module_& module) {
  using namespace py::literals;
  py::module_ limits = module.def_submodule("limits", "what this machine can do at best, for `fastnn bench`");
  limits.def("multiply_add_loop", &multiply_add_loop, "out"_a, "rounds"_a);
  limits.def("copy_loop", &copy_loop, "x"_a, "y"_a, "rounds"_a);
  limits.def("scale_loop", &scale_loop, "x"_a, "scale"_a, "rounds"_a);
  limits.def("push_loop", &push_loop, "arrays"_a, "rounds"_a);
}

}  // namespace fnn::bindings
