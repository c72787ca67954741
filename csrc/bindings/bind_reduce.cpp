// regularization_penalty, first_nonfinite
#include "bindings/convert.h"
#include "bindings/launch.h"
#include "cpu/reduce.h"

namespace fnn::bindings {
namespace {

void regularization_penalty(py::handle param, double l1, double l2, py::handle loss) {
  Border border("regularization_penalty");
  const auto values = border.in_any_shape<float>("param", param);
  const auto total = border.out<double>("loss", loss, {1});
  border.done();
  launch(cpu::RegularizationPenalty{{}, values.ptr(), total.ptr(), values.count(), l1, l2});
}

std::int64_t first_nonfinite(py::handle x) {
  Border border("first_nonfinite");
  const auto values = border.in_any_shape<float>("x", x);
  std::int64_t first = -1;
  launch(cpu::FirstNonfinite{{}, values.ptr(), &first, values.count()});
  return first;
}

}  // namespace

void bind_reduce(py::module_& module) {
  using py::arg;
  module.def("regularization_penalty", &regularization_penalty, arg("param"), arg("l1"), arg("l2"), arg("loss"));
  module.def("first_nonfinite", &first_nonfinite, arg("x"));
}

}  // namespace fnn::bindings
