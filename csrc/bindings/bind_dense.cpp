// gemm and the dense layer.
#include "bindings/activation_argument.h"
#include "bindings/launch.h"
#include "cpu/dense.h"

namespace fnn::bindings {
namespace {

void gemm(py::handle a, py::handle b, py::handle c, bool transpose_a, bool transpose_b, bool accumulate,
          py::handle bias, int activation, float alpha) {
  Border border("gemm");
  const auto left = border.in_matrix<float>("a", a);
  const auto right = border.in_matrix<float>("b", b);
  const std::int64_t m = left.shape[transpose_a ? 1 : 0], k = left.shape[transpose_a ? 0 : 1];
  const std::int64_t n = right.shape[transpose_b ? 0 : 1];
  if (right.shape[transpose_b ? 1 : 0] != k) {
    border.fail("b", "a matrix whose inner dimension is that of a, " + std::to_string(k),
                std::to_string(right.shape[transpose_b ? 1 : 0]));
  }
  const auto product = border.out_matrix<float>("c", c, {m, n});
  const auto offset = optional_in<float>(border, "bias", bias, {n});
  border.done();
  const Activation kind = activation_argument(border, activation, alpha);
  if (accumulate && kind != Activation::linear)
    border.fail("activation", "linear with accumulate", kActivationNames[activation]);
  const auto leading = [](const RawArray& array) { return array.strides[0] / array.item_size; };
  launch(cpu::Gemm{{},
                   m,
                   n,
                   k,
                   left.ptr(),
                   leading(left),
                   transpose_a,
                   right.ptr(),
                   leading(right),
                   transpose_b,
                   product.ptr(),
                   leading(product),
                   accumulate,
                   {offset.ptr(), nullptr, kind, alpha}});
}

void dense_forward(py::handle x, py::handle w, py::handle b, py::handle y, py::handle z, int activation, float alpha) {
  Border border("dense_forward");
  const auto input = border.in<float>("x", x, {kAny, kAny});
  const auto weights = border.in<float>("w", w, {input.shape[1], kAny});
  const auto bias = optional_in<float>(border, "b", b, {weights.shape[1]});
  const auto output = border.out<float>("y", y, {input.shape[0], weights.shape[1]});
  const auto kept = optional_out<float>(border, "z", z, {input.shape[0], weights.shape[1]});
  border.done();
  const Activation kind = activation_argument(border, activation, alpha);
  launch(cpu::DenseForward(input.ptr(), weights.ptr(), output.ptr(), input.shape[0], input.shape[1], weights.shape[1],
                           {bias.ptr(), kept.ptr(), kind, alpha}));
}

void dense_backward(py::handle x, py::handle w, py::handle saved, py::handle dy, py::handle dz, py::handle dw,
                    py::handle db, py::handle dx, int activation, float alpha, bool accumulate) {
  Border border("dense_backward");
  const auto input = border.in<float>("x", x, {kAny, kAny});
  const auto weights = border.in<float>("w", w, {input.shape[1], kAny});
  const std::int64_t n = input.shape[0], in = input.shape[1], out = weights.shape[1];
  const Activation kind = activation_argument(border, activation, alpha);
  const auto values = saved_argument(border, saved, kind, {n, out});
  const auto grad = border.in<float>("dy", dy, {n, out});
  const auto grad_z = border.out_or_in_place<float>("dz", dz, {n, out});
  const auto grad_w = optional_out<float>(border, "dw", dw, {in, out});
  const auto grad_b = optional_out<float>(border, "db", db, {out});
  const auto grad_x = optional_out<float>(border, "dx", dx, {n, in});
  border.done();
  cpu::DenseBackward kernel{{},           input.ptr(),  weights.ptr(), values.ptr(), grad.ptr(),
                            grad_z.ptr(), grad_w.ptr(), grad_b.ptr(),  grad_x.ptr(), n,
                            in,           out,          kind,          alpha,        accumulate};
  launch(kernel);
}

void dense_input_gradient(py::handle w, py::handle saved, py::handle dy, py::handle dz, py::handle dx, int activation,
                          float alpha) {
  Border border("dense_input_gradient");
  const auto weights = border.in<float>("w", w, {kAny, kAny});
  const std::int64_t in = weights.shape[0], out = weights.shape[1];
  const auto grad = border.in<float>("dy", dy, {kAny, out});
  const std::int64_t n = grad.shape[0];
  const Activation kind = activation_argument(border, activation, alpha);
  const auto values = saved_argument(border, saved, kind, {n, out});
  const auto grad_z = border.out_or_in_place<float>("dz", dz, {n, out});
  const auto grad_x = optional_out<float>(border, "dx", dx, {n, in});
  border.done();
  launch(cpu::DenseInputGradient{
      {}, weights.ptr(), values.ptr(), grad.ptr(), grad_z.ptr(), grad_x.ptr(), n, in, out, kind, alpha});
}

}  // namespace

void bind_dense(py::module_& module) {
  using namespace py::literals;
  module.def("gemm", &gemm, "a"_a, "b"_a, "c"_a, "transpose_a"_a = false, "transpose_b"_a = false,
             "accumulate"_a = false, "bias"_a = py::none(), "activation"_a = 0, "alpha"_a = 0.f);
  module.def("dense_forward", &dense_forward, "x"_a, "w"_a, "b"_a, "y"_a, "z"_a, "activation"_a, "alpha"_a);
  module.def("dense_backward", &dense_backward, "x"_a, "w"_a, "saved"_a, "dy"_a, "dz"_a, "dw"_a, "db"_a, "dx"_a,
             "activation"_a, "alpha"_a, "accumulate"_a);
  module.def("dense_input_gradient", &dense_input_gradient, "w"_a, "saved"_a, "dy"_a, "dz"_a, "dx"_a, "activation"_a,
             "alpha"_a);
}

}  // namespace fnn::bindings
