// conv2d_forward, conv2d_backward, depthwise_conv2d_forward, depthwise_conv2d_backward.
#include <pybind11/stl.h>

#include <array>

#include "bindings/activation_argument.h"
#include "bindings/launch.h"
#include "cpu/conv.h"
#include "cpu/depthwise.h"

namespace fnn::bindings {
namespace {

using Pair = std::array<std::int64_t, 2>;
using Quad = std::array<std::int64_t, 4>;

struct Window {
  Pair strides;
  Quad padding;  // top, bottom, left, right
  Pair dilations;
};

void check_window(const Border& border, const Window& window) {
  for (std::int64_t stride : window.strides)
    if (stride < 1) border.fail("strides", "at least 1", std::to_string(stride));
  for (std::int64_t pad : window.padding)
    if (pad < 0) border.fail("padding", "at least 0", std::to_string(pad));
  for (std::int64_t dilation : window.dilations)
    if (dilation < 1) border.fail("dilations", "at least 1", std::to_string(dilation));
}

// Length of the output along an axis; 0 when the kernel does not fit.
std::int64_t output_size(std::int64_t size, std::int64_t kernel, std::int64_t stride, std::int64_t before,
                         std::int64_t after, std::int64_t dilation) {
  const std::int64_t room = size + before + after - (kernel - 1) * dilation - 1;
  return room < 0 ? 0 : room / stride + 1;
}

cpu::ConvShape shape_of(const RawArray& x, const RawArray& w, std::int64_t filters, std::int64_t groups,
                        const Window& window) {
  const auto [sh, sw] = window.strides;
  const auto [top, bottom, left, right] = window.padding;
  const auto [dh, dw] = window.dilations;
  return {x.shape[0],
          x.shape[1],
          x.shape[2],
          x.shape[3],
          w.shape[0],
          w.shape[1],
          filters,
          output_size(x.shape[1], w.shape[0], sh, top, bottom, dh),
          output_size(x.shape[2], w.shape[1], sw, left, right, dw),
          sh,
          sw,
          top,
          left,
          dh,
          dw,
          groups};
}

struct Arrays {
  Array<const float> x, w;
  cpu::ConvShape shape;
};

// x, w and the geometry of a convolution; depthwise: w is [kh, kw, c, mult], else [kh, kw, c/groups, f].
Arrays operands(Border& border, py::handle x, py::handle w, std::int64_t groups, bool depthwise, const Window& window) {
  Arrays arrays;
  arrays.x = border.in<float>("x", x, {kAny, kAny, kAny, kAny});
  const std::int64_t channels = arrays.x.shape[3];
  check_window(border, window);
  if (depthwise) groups = channels;
  if (groups < 1 || channels % groups != 0)
    border.fail("groups", "a divisor of x's channels, " + std::to_string(channels), std::to_string(groups));
  arrays.w = border.in<float>("w", w, {kAny, kAny, depthwise ? channels : channels / groups, kAny});
  if (arrays.w.shape[0] < 1 || arrays.w.shape[1] < 1) border.fail("w", "a kernel of at least 1 x 1", "an empty one");
  const std::int64_t filters = depthwise ? channels * arrays.w.shape[3] : arrays.w.shape[3];
  if (filters % groups != 0)
    border.fail("w", "filters that are a multiple of groups, " + std::to_string(groups), std::to_string(filters));
  arrays.shape = shape_of(arrays.x, arrays.w, filters, groups, window);
  return arrays;
}

template <class Kernel>
void forward(const char* name, bool depthwise, py::handle x, py::handle w, py::handle b, py::handle y, py::handle z,
             const Window& window, std::int64_t groups, int activation, float alpha) {
  Border border(name);
  const Arrays arrays = operands(border, x, w, groups, depthwise, window);
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
              py::handle dz, py::handle dw, py::handle db, py::handle dx, const Window& window, std::int64_t groups,
              int activation, float alpha, bool accumulate) {
  Border border(name);
  const Arrays arrays = operands(border, x, w, groups, depthwise, window);
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
