// max_pool2d_*, average_pool2d_*, global_average_pool_*, global_max_pool_*
#include "bindings/launch.h"
#include "bindings/window_arguments.h"
#include "cpu/global_pool.h"
#include "cpu/pool.h"

namespace fnn::bindings {
namespace {

void max_pool2d_forward(py::handle x, py::handle y, py::handle index, const Pair& window, const Pair& strides,
                        const Quad& padding) {
  Border border("max_pool2d_forward");
  const auto input = border.in<float>("x", x, {kAny, kAny, kAny, kAny});
  const cpu::Pooling s = pooling_argument(border, "x", image_shape(input), window, strides, padding);
  const auto output = border.out<float>("y", y, {s.images, s.rows.windows, s.cols.windows, s.channels});
  const IndexArgument winners = index.is_none() ? IndexArgument{nullptr, 0} : index_argument(border, index, s, true);
  border.done();
  launch(cpu::MaxPoolForward{{}, s, input.ptr(), output.ptr(), winners.data, winners.bytes});
}

void max_pool2d_backward(py::handle dy, py::handle index, py::handle dx, const Pair& window, const Pair& strides,
                         const Quad& padding) {
  Border border("max_pool2d_backward");
  const auto grad_x = border.out<float>("dx", dx, {kAny, kAny, kAny, kAny});
  const cpu::Pooling s = pooling_argument(border, "dx", image_shape(grad_x), window, strides, padding);
  const auto grad = border.in<float>("dy", dy, {s.images, s.rows.windows, s.cols.windows, s.channels});
  const IndexArgument winners = index_argument(border, index, s, false);
  border.done();
  launch(cpu::MaxPoolBackward{{}, s, grad.ptr(), winners.data, winners.bytes, grad_x.ptr()});
}

void average_pool2d_forward(py::handle x, py::handle y, const Pair& window, const Pair& strides, const Quad& padding) {
  Border border("average_pool2d_forward");
  const auto input = border.in<float>("x", x, {kAny, kAny, kAny, kAny});
  const cpu::Pooling s = pooling_argument(border, "x", image_shape(input), window, strides, padding);
  const auto output = border.out<float>("y", y, {s.images, s.rows.windows, s.cols.windows, s.channels});
  border.done();
  launch(cpu::AveragePoolForward{{}, s, input.ptr(), output.ptr()});
}

void average_pool2d_backward(py::handle dy, py::handle dx, const Pair& window, const Pair& strides,
                             const Quad& padding) {
  Border border("average_pool2d_backward");
  const auto grad_x = border.out<float>("dx", dx, {kAny, kAny, kAny, kAny});
  const cpu::Pooling s = pooling_argument(border, "dx", image_shape(grad_x), window, strides, padding);
  const auto grad = border.in<float>("dy", dy, {s.images, s.rows.windows, s.cols.windows, s.channels});
  border.done();
  launch(cpu::AveragePoolBackward{{}, s, grad.ptr(), grad_x.ptr()});
}

cpu::GlobalPooling global_pooling(const Border& border, const char* x_name, const RawArray& x) {
  const cpu::GlobalPooling s{x.shape[0], x.shape[1], x.shape[2], x.shape[3]};
  if (s.pixels() < 1 || s.pixels() > INT32_MAX) {
    border.fail(x_name, "images of 1 to 2^31 - 1 pixels", tuple_text(Pair{s.height, s.width}));
  }
  return s;
}

void global_average_pool_forward(py::handle x, py::handle y) {
  Border border("global_average_pool_forward");
  const auto input = border.in<float>("x", x, {kAny, kAny, kAny, kAny});
  const cpu::GlobalPooling s = global_pooling(border, "x", input);
  const auto output = border.out<float>("y", y, {s.images, s.channels});
  border.done();
  launch(cpu::GlobalAveragePoolForward{{}, s, input.ptr(), output.ptr()});
}

void global_average_pool_backward(py::handle dy, py::handle dx) {
  Border border("global_average_pool_backward");
  const auto grad_x = border.out<float>("dx", dx, {kAny, kAny, kAny, kAny});
  const cpu::GlobalPooling s = global_pooling(border, "dx", grad_x);
  const auto grad = border.in<float>("dy", dy, {s.images, s.channels});
  border.done();
  launch(cpu::GlobalAveragePoolBackward{{}, s, grad.ptr(), grad_x.ptr()});
}

void global_max_pool_forward(py::handle x, py::handle y, py::handle index) {
  Border border("global_max_pool_forward");
  const auto input = border.in<float>("x", x, {kAny, kAny, kAny, kAny});
  const cpu::GlobalPooling s = global_pooling(border, "x", input);
  const auto output = border.out<float>("y", y, {s.images, s.channels});
  std::int32_t* winners = nullptr;
  if (!index.is_none()) winners = border.out<std::int32_t>("index", index, {s.images, s.channels}).ptr();
  border.done();
  launch(cpu::GlobalMaxPoolForward{{}, s, input.ptr(), output.ptr(), winners});
}

void global_max_pool_backward(py::handle dy, py::handle index, py::handle dx) {
  Border border("global_max_pool_backward");
  const auto grad_x = border.out<float>("dx", dx, {kAny, kAny, kAny, kAny});
  const cpu::GlobalPooling s = global_pooling(border, "dx", grad_x);
  const auto grad = border.in<float>("dy", dy, {s.images, s.channels});
  const auto winners = border.in<std::int32_t>("index", index, {s.images, s.channels});
  border.done();
  // On the GPU the kernel leaves out a pixel that is none.
  for (std::int64_t i = 0; kOnHost && i < winners.count(); ++i) {
    const std::int32_t pixel = winners.ptr()[i];
    if (pixel >= 0 && pixel < s.pixels()) continue;
    border.fail("index", "pixels of dx, at least 0 and below " + std::to_string(s.pixels()), std::to_string(pixel));
  }
  launch(cpu::GlobalMaxPoolBackward{{}, s, grad.ptr(), winners.ptr(), grad_x.ptr()});
}

}  // namespace

void bind_pool(py::module_& module) {
  using namespace py::literals;
  module.def("max_pool2d_forward", &max_pool2d_forward, "x"_a, "y"_a, "index"_a, "window"_a, "strides"_a, "padding"_a);
  module.def("max_pool2d_backward", &max_pool2d_backward, "dy"_a, "index"_a, "dx"_a, "window"_a, "strides"_a,
             "padding"_a);
  module.def("average_pool2d_forward", &average_pool2d_forward, "x"_a, "y"_a, "window"_a, "strides"_a, "padding"_a);
  module.def("average_pool2d_backward", &average_pool2d_backward, "dy"_a, "dx"_a, "window"_a, "strides"_a, "padding"_a);
  module.def("global_average_pool_forward", &global_average_pool_forward, "x"_a, "y"_a);
  module.def("global_average_pool_backward", &global_average_pool_backward, "dy"_a, "dx"_a);
  module.def("global_max_pool_forward", &global_max_pool_forward, "x"_a, "y"_a, "index"_a);
  module.def("global_max_pool_backward", &global_max_pool_backward, "dy"_a, "index"_a, "dx"_a);
}

}  // namespace fnn::bindings
