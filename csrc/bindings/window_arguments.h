// Arguments that convolution and pooling share: windows over images, and what remembers a window's winner.
#pragma once
#include <pybind11/stl.h>

#include <array>

#include "bindings/convert.h"
#include "cpu/conv.h"
#include "cpu/pool.h"

namespace fnn::bindings {

using Pair = std::array<std::int64_t, 2>;  // height, width
using Quad = std::array<std::int64_t, 4>;  // top, bottom, left, right
using ImageShape = std::array<std::int64_t, 4>;

inline ImageShape image_shape(const RawArray& x) { return {x.shape[0], x.shape[1], x.shape[2], x.shape[3]}; }

struct ConvWindow {
  Pair strides;
  Quad padding;  // top, bottom, left, right
  Pair dilations;
};

inline void check_window(const Border& border, const ConvWindow& window) {
  for (std::int64_t stride : window.strides)
    if (stride < 1) border.fail("strides", "at least 1", std::to_string(stride));
  for (std::int64_t pad : window.padding)
    if (pad < 0) border.fail("padding", "at least 0", std::to_string(pad));
  for (std::int64_t dilation : window.dilations)
    if (dilation < 1) border.fail("dilations", "at least 1", std::to_string(dilation));
}

// Length of the output along an axis; 0 when the kernel does not fit.
inline std::int64_t output_size(std::int64_t size, std::int64_t kernel, std::int64_t stride, std::int64_t before,
                                std::int64_t after, std::int64_t dilation) {
  const std::int64_t room = size + before + after - (kernel - 1) * dilation - 1;
  return room < 0 ? 0 : room / stride + 1;
}

inline cpu::ConvShape conv_shape(const RawArray& x, const RawArray& w, std::int64_t filters, std::int64_t groups,
                                 const ConvWindow& window) {
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

struct ConvOperands {
  Array<const float> x, w;
  cpu::ConvShape shape;
};

// x, w and the geometry of a convolution; depthwise: w is [kh, kw, c, mult], else [kh, kw, c/groups, f].
inline ConvOperands conv_operands(Border& border, py::handle x, py::handle w, std::int64_t groups, bool depthwise,
                                  const ConvWindow& window) {
  ConvOperands arrays;
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
  arrays.shape = conv_shape(arrays.x, arrays.w, filters, groups, window);
  return arrays;
}

template <std::size_t kSize>
std::string tuple_text(const std::array<std::int64_t, kSize>& values) {
  std::string result = "(";
  for (std::size_t i = 0; i < kSize; ++i) result += (i > 0 ? ", " : "") + std::to_string(values[i]);
  return result + ")";
}

// The pooling of images of x's shape, with windows that each hold at least one pixel and fit the padded image.
inline cpu::Pooling pooling_argument(const Border& border, const char* x_name, const ImageShape& x, const Pair& window,
                                     const Pair& strides, const Quad& padding) {
  constexpr std::int64_t kMost = INT32_MAX;
  cpu::Pooling s{x[0], x[3], {}, {}};
  for (int axis = 0; axis < 2; ++axis) {
    const std::int64_t size = x[1 + axis], before = padding[2 * axis], after = padding[2 * axis + 1];
    const std::int64_t side = window[axis], stride = strides[axis];
    if (side < 1 || side > kMost) border.fail("window", "two integers of at least 1", tuple_text(window));
    if (stride < 1 || stride > kMost) border.fail("strides", "two integers of at least 1", tuple_text(strides));
    if (before < 0 || after < 0 || before >= side || after >= side) {
      border.fail("padding", "at least 0 and less than the window " + tuple_text(window), tuple_text(padding));
    }
    if (size < 1) border.fail(x_name, "images of at least one pixel", tuple_text(Pair{x[1], x[2]}));
    const std::int64_t padded = size + before + after;
    if (side > padded) border.fail("window", "at most the padded image, " + std::to_string(padded), tuple_text(window));
    (axis == 0 ? s.rows : s.cols) = {size, (padded - side) / stride + 1, side, stride, before};
  }
  if (s.area() > kMost) border.fail("window", "of an area below 2^31", tuple_text(window));
  return s;
}

// What remembers the winners; its dtype follows from the window.
struct IndexArgument {
  void* data;
  int bytes;
};
inline IndexArgument index_argument(Border& border, py::handle index, const cpu::Pooling& s, bool written) {
  const Shape wanted = {s.images, s.rows.windows, s.cols.windows, s.channels};
  if (s.area() > 65536) border.fail("index", "None for a window of more than 65536 pixels", "an array");
  const auto raw = [&](auto type) -> IndexArgument {
    using Index = decltype(type);
    if (written) return {border.out<Index>("index", index, wanted).data, sizeof(Index)};
    return {border.in<Index>("index", index, wanted).data, sizeof(Index)};
  };
  return s.area() <= 256 ? raw(std::uint8_t{}) : raw(std::uint16_t{});
}

}  // namespace fnn::bindings
