// conv2d_forward, conv2d_backward, depthwise_conv2d_forward, depthwise_conv2d_backward.
#include "bindings/activation_argument.h"
#include "bindings/launch.h"
#include "bindings/window_arguments.h"
#include "cpu/conv.h"
#include "cpu/depthwise.h"

namespace fnn::bindings {
namespace {

template <class Kernel>
void forward(const char* name, bool depthwise, py::handle x, py::handle w, py::handle b, py::handle y, py::handle z,
             const ConvWindow& window, std::int64_t groups, int activation, float alpha) {
  Border border(name);
  const ConvOperands arrays = conv_operands(border, x, w, groups, depthwise, window);
  const cpu::ConvShape& s = arrays.shape;
  const auto bias = optional_in<float>(border, "b", b, {s.f});
  const auto output = border.out<float>("y", y, {s.n, s.oh, s.ow, s.f});
  const auto kept = optional_out<float>(border, "z", z, {s.n, s.oh, s.ow, s.f});
  border.done();
  const Activation kind = activation_argument(border, activation, alpha);
  if (output.count() == 0) return;
  launch(Kernel{{}, s, arrays.x.ptr(), arrays.w.ptr(), output.ptr(), {bias.ptr(), kept.ptr(), kind, alpha}});
}

template <class Kernel>
void backward(const char* name, bool depthwise, py::handle x, py::handle w, py::handle saved, py::handle dy,
              py::handle dz, py::handle dw, py::handle db, py::handle dx, const ConvWindow& window, std::int64_t groups,
              int activation, float alpha, bool accumulate) {
  Border border(name);
  const ConvOperands arrays = conv_operands(border, x, w, groups, depthwise, window);
  const cpu::ConvShape& s = arrays.shape;
  const Activation kind = activation_argument(border, activation, alpha);
  const auto values = saved_argument(border, saved, kind, {s.n, s.oh, s.ow, s.f});
  const auto grad = border.in<float>("dy", dy, {s.n, s.oh, s.ow, s.f});
  const auto grad_z = border.out_or_in_place<float>("dz", dz, {s.n, s.oh, s.ow, s.f});
  const auto& weights = arrays.w.shape;
  const auto grad_w = optional_out<float>(border, "dw", dw, {weights[0], weights[1], weights[2], weights[3]});
  const auto grad_b = optional_out<float>(border, "db", db, {s.f});
  const auto grad_x = optional_out<float>(border, "dx", dx, {s.n, s.h, s.w, s.c});
  border.done();
  launch(Kernel{{{},
                 s,
                 arrays.x.ptr(),
                 arrays.w.ptr(),
                 values.ptr(),
                 grad.ptr(),
                 grad_z.ptr(),
                 grad_w.ptr(),
                 grad_b.ptr(),
                 grad_x.ptr(),
                 kind,
                 alpha,
                 accumulate}});
}

}  // namespace

void bind_conv(py::module_& module) {
  using namespace py::literals;
  module.def(
      "conv2d_forward",
      [](py::handle x, py::handle w, py::handle b, py::handle y, py::handle z, Pair strides, Quad padding,
         Pair dilations, std::int64_t groups, int activation, float alpha) {
        forward<cpu::ConvForward>("conv2d_forward", false, x, w, b, y, z, {strides, padding, dilations}, groups,
                                  activation, alpha);
      },
      "x"_a, "w"_a, "b"_a, "y"_a, "z"_a, "strides"_a, "padding"_a, "dilations"_a, "groups"_a, "activation"_a,
      "alpha"_a);
  module.def(
      "conv2d_backward",
      [](py::handle x, py::handle w, py::handle saved, py::handle dy, py::handle dz, py::handle dw, py::handle db,
         py::handle dx, Pair strides, Quad padding, Pair dilations, std::int64_t groups, int activation, float alpha,
         bool accumulate) {
        backward<cpu::ConvBackward>("conv2d_backward", false, x, w, saved, dy, dz, dw, db, dx,
                                    {strides, padding, dilations}, groups, activation, alpha, accumulate);
      },
      "x"_a, "w"_a, "saved"_a, "dy"_a, "dz"_a, "dw"_a, "db"_a, "dx"_a, "strides"_a, "padding"_a, "dilations"_a,
      "groups"_a, "activation"_a, "alpha"_a, "accumulate"_a);
  module.def(
      "depthwise_conv2d_forward",
      [](py::handle x, py::handle w, py::handle b, py::handle y, py::handle z, Pair strides, Quad padding,
         Pair dilations, int activation, float alpha) {
        forward<cpu::DepthwiseForward>("depthwise_conv2d_forward", true, x, w, b, y, z, {strides, padding, dilations},
                                       1, activation, alpha);
      },
      "x"_a, "w"_a, "b"_a, "y"_a, "z"_a, "strides"_a, "padding"_a, "dilations"_a, "activation"_a, "alpha"_a);
  module.def(
      "depthwise_conv2d_backward",
      [](py::handle x, py::handle w, py::handle saved, py::handle dy, py::handle dz, py::handle dw, py::handle db,
         py::handle dx, Pair strides, Quad padding, Pair dilations, int activation, float alpha, bool accumulate) {
        backward<cpu::DepthwiseBackward>("depthwise_conv2d_backward", true, x, w, saved, dy, dz, dw, db, dx,
                                         {strides, padding, dilations}, 1, activation, alpha, accumulate);
      },
      "x"_a, "w"_a, "saved"_a, "dy"_a, "dz"_a, "dw"_a, "db"_a, "dx"_a, "strides"_a, "padding"_a, "dilations"_a,
      "activation"_a, "alpha"_a, "accumulate"_a);
}

}  // namespace fnn::bindings
