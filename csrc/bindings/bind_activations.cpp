// activation_forward, activation_backward, softmax_forward, softmax_backward, and the table of activations.
#include "bindings/activation_argument.h"
#include "bindings/launch.h"
#include "cpu/activation.h"
#include "cpu/softmax.h"

namespace fnn::bindings {
namespace {

void activation_forward(py::handle x, py::handle y, int activation, float alpha) {
  Border border("activation_forward");
  const auto input = border.in_any_shape<float>("x", x);
  const auto output = border.out_like_or_in_place<float>("y", y, input);
  border.done();
  const Activation kind = activation_argument(border, activation, alpha);
  launch(cpu::ActivationForward{{}, input.ptr(), output.ptr(), input.count(), kind, alpha});
}

void activation_backward(py::handle saved, py::handle dy, py::handle dx, int activation, float alpha) {
  Border border("activation_backward");
  const Activation kind = activation_argument(border, activation, alpha);
  const auto grad = border.in_any_shape<float>("dy", dy);
  const auto values = kind == Activation::linear ? grad : border.in_like<float>("saved", saved, grad);
  const auto grad_x = border.out_like_or_in_place<float>("dx", dx, grad);
  border.done();
  launch(cpu::ActivationBackward{{}, values.ptr(), grad.ptr(), grad_x.ptr(), grad.count(), kind, alpha});
}

void softmax_forward(py::handle x, py::handle y) {
  Border border("softmax_forward");
  const auto input = border.in<float>("x", x, {kAny, kAny});
  const auto output = border.out_like_or_in_place<float>("y", y, input);
  border.done();
  launch(cpu::SoftmaxForward{{}, input.ptr(), output.ptr(), input.shape[0], input.shape[1]});
}

void softmax_backward(py::handle y, py::handle dy, py::handle dx) {
  Border border("softmax_backward");
  const auto output = border.in<float>("y", y, {kAny, kAny});
  const auto grad = border.in_like<float>("dy", dy, output);
  const auto grad_x = border.out_like_or_in_place<float>("dx", dx, output);
  border.done();
  launch(cpu::SoftmaxBackward{{}, output.ptr(), grad.ptr(), grad_x.ptr(), output.shape[0], output.shape[1]});
}

}  // namespace

void bind_activations(py::module_& module) {
  using namespace py::literals;
  py::dict codes;
  py::set from_input;
  for (int i = 0; i < kActivationCount; ++i) {
    codes[kActivationNames[i]] = i;
    if (grad_from_input(static_cast<Activation>(i))) from_input.add(i);
  }
  module.attr("ACTIVATIONS") = codes;
  module.attr("GRAD_FROM_INPUT") = py::frozenset(from_input);
  module.def("activation_forward", &activation_forward, "x"_a, "y"_a, "activation"_a, "alpha"_a = 0.f);
  module.def("activation_backward", &activation_backward, "saved"_a, "dy"_a, "dx"_a, "activation"_a, "alpha"_a = 0.f);
  module.def("softmax_forward", &softmax_forward, "x"_a, "y"_a);
  module.def("softmax_backward", &softmax_backward, "y"_a, "dy"_a, "dx"_a);
}

}  // namespace fnn::bindings
