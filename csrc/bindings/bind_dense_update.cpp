// dense_update: the gradients of a dense layer's weights and the optimizer's step with them.
#include "bindings/launch.h"
#include "bindings/tensor_updates.h"
#include "cpu/dense_update.h"

namespace fnn::bindings {
namespace {

void dense_update(py::handle x, py::handle dz, py::handle w, py::handle b) {
  Border border("dense_update");
  const auto input = border.in<float>("x", x, {kAny, kAny});
  const auto grad = border.in<float>("dz", dz, {input.shape[0], kAny});
  const std::int64_t n = input.shape[0], in = input.shape[1], out = grad.shape[1];
  const cpu::TensorUpdate weights = update_argument(border, "w", w, in * out);
  const cpu::TensorUpdate bias = update_argument(border, "b", b, out);
  launch(cpu::DenseUpdate{{}, input.ptr(), grad.ptr(), n, in, out, weights, bias});
}

}  // namespace

void bind_dense_update(py::module_& module) {
  using py::arg;
  module.def("dense_update", &dense_update, arg("x"), arg("dz"), arg("w"), arg("b"));
}

}  // namespace fnn::bindings
