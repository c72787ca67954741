// conv2d_max_pool2d_forward, conv2d_max_pool2d_backward.
#include "bindings/activation_argument.h"
#include "bindings/launch.h"
#include "bindings/window_arguments.h"
#include "cpu/conv_pool.h"

namespace fnn::bindings {
namespace {

struct PoolWindow {
  Pair window, strides;
  Quad padding;
};

// A convolution whose output is pooled.
struct ConvPoolOperands {
  ConvOperands conv;
  cpu::Pooling pooling;
  Activation activation;

  ConvPoolOperands(Border& border, py::handle x, py::handle w, std::int64_t groups, const ConvWindow& window,
                   const PoolWindow& pool, int kind)
      : conv(conv_operands(border, x, w, groups, false, window)) {
    const cpu::ConvShape& s = conv.shape;
    if (s.depth() * s.f > cpu::ConvWeightGradient::kLargestPart)
      border.fail("w", "at most " + std::to_string(cpu::ConvWeightGradient::kLargestPart) + " elements",
                  std::to_string(s.depth() * s.f));
    activation = activation_argument(border, kind, 0.f);
    if (activation != Activation::linear && activation != Activation::relu)
      border.fail("activation", "linear or relu", std::to_string(kind));
    pooling = pooling_argument(border, "x", {s.n, s.oh, s.ow, s.f}, pool.window, pool.strides, pool.padding);
  }
};

void conv2d_max_pool2d_forward(py::handle x, py::handle w, py::handle b, py::handle y, py::handle index,
                               const Pair& strides, const Quad& padding, const Pair& dilations, std::int64_t groups,
                               int activation, const Pair& window, const Pair& pool_strides, const Quad& pool_padding) {
  Border border("conv2d_max_pool2d_forward");
  const ConvPoolOperands operands(border, x, w, groups, {strides, padding, dilations},
                                  {window, pool_strides, pool_padding}, activation);
  const cpu::ConvShape& s = operands.conv.shape;
  const cpu::Pooling& p = operands.pooling;
  const auto bias = optional_in<float>(border, "b", b, {s.f});
  const auto output = border.out<float>("y", y, {p.images, p.rows.windows, p.cols.windows, p.channels});
  const IndexArgument winners = index.is_none() ? IndexArgument{nullptr, 0} : index_argument(border, index, p, true);
  border.done();
  const cpu::Epilogue epilogue = {bias.ptr(), nullptr, operands.activation, 0.f};
  launch(cpu::ConvPoolForward{{},
                              {{}, s, operands.conv.x.ptr(), operands.conv.w.ptr(), nullptr, epilogue},
                              {{}, p, nullptr, output.ptr(), winners.data, winners.bytes}});
}

void conv2d_max_pool2d_backward(py::handle x, py::handle w, py::handle y, py::handle index, py::handle dy,
                                py::handle dw, py::handle db, py::handle dx, const Pair& strides, const Quad& padding,
                                const Pair& dilations, std::int64_t groups, int activation, const Pair& window,
                                const Pair& pool_strides, const Quad& pool_padding, bool accumulate) {
  Border border("conv2d_max_pool2d_backward");
  const ConvPoolOperands operands(border, x, w, groups, {strides, padding, dilations},
                                  {window, pool_strides, pool_padding}, activation);
  const cpu::ConvShape& s = operands.conv.shape;
  const cpu::Pooling& p = operands.pooling;
  const auto pooled = border.in<float>("y", y, {p.images, p.rows.windows, p.cols.windows, p.channels});
  const IndexArgument winners = index_argument(border, index, p, false);
  const auto grad = border.in<float>("dy", dy, {p.images, p.rows.windows, p.cols.windows, p.channels});
  const auto& weights = operands.conv.w.shape;
  const auto grad_w = optional_out<float>(border, "dw", dw, {weights[0], weights[1], weights[2], weights[3]});
  const auto grad_b = optional_out<float>(border, "db", db, {s.f});
  const auto grad_x = optional_out<float>(border, "dx", dx, {s.n, s.h, s.w, s.c});
  border.done();
  launch(cpu::ConvPoolBackward{{},
                               {{},
                                s,
                                operands.conv.x.ptr(),
                                operands.conv.w.ptr(),
                                nullptr,
                                nullptr,
                                nullptr,
                                grad_w.ptr(),
                                grad_b.ptr(),
                                grad_x.ptr(),
                                operands.activation,
                                0.f,
                                accumulate},
                               {{}, p, grad.ptr(), winners.data, winners.bytes, nullptr},
                               pooled.ptr()});
}

}  // namespace

void bind_conv_pool(py::module_& module) {
  using namespace py::literals;
  module.attr("LARGEST_POOLED_KERNEL") = cpu::ConvWeightGradient::kLargestPart;
  module.def("conv2d_max_pool2d_forward", &conv2d_max_pool2d_forward, "x"_a, "w"_a, "b"_a, "y"_a, "index"_a,
             "strides"_a, "padding"_a, "dilations"_a, "groups"_a, "activation"_a, "window"_a, "pool_strides"_a,
             "pool_padding"_a);
  module.def("conv2d_max_pool2d_backward", &conv2d_max_pool2d_backward, "x"_a, "w"_a, "y"_a, "index"_a, "dy"_a, "dw"_a,
             "db"_a, "dx"_a, "strides"_a, "padding"_a, "dilations"_a, "groups"_a, "activation"_a, "window"_a,
             "pool_strides"_a, "pool_padding"_a, "accumulate"_a);
}

}  // namespace fnn::bindings
