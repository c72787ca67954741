// The three passes of a convolution as matrix products (product.cuh), each with as many independent ones as there are
// groups, and phases or splits:
//
//   forward          y[pixel, f]        = sum over tap, c    of window[pixel, tap, c]  w[tap, c, f]
//   input gradient   dx[pixel, c]       = sum over tap, f    of window[pixel, tap, f]  w[tap, c, f]
//   weight gradient  dw[tap, c, f]      = sum over pixel     of window[pixel, tap, c]  dz[pixel, f]
//
// The windows of the input gradient are dz's: pixels of dx that are congruent modulo the strides see the same taps, so
// that each such phase is a convolution of stride 1.
#pragma once
#include "cuda/conv_operands.cuh"
#include "cuda/matrix_operand.cuh"
#include "cuda/product_output.cuh"
#include "cuda/product_size.h"

namespace fnn::cuda {

template <int width>
struct ConvForwardProblem {
  static constexpr int kWidth = width, kBand = 1;
  using A = WindowOperand<true>;
  using B = MatrixOperand<false, int>;

  A windows;
  B weights;
  ActivatedOutput output;
  int group_c, group_f;

  FNN_HD ProductPart<A, B> part(int group) const {
    ProductPart<A, B> p = {windows, weights, windows.origins.count, group_f, 0, windows.taps.count};
    p.a.data += group * group_c;
    p.b.data += group * group_f;
    return p;
  }
  FNN_HD ActivatedOutput output_of(int group) const {
    ActivatedOutput of_group = output;
    of_group.c += group * group_f;
    if (output.z != nullptr) of_group.z += group * group_f;
    if (output.bias != nullptr) of_group.bias += group * group_f;
    return of_group;
  }
};

// One axis of the input gradient's phases: of pixels congruent to `phase` in the padded image.
struct PhaseAxis {
  int size, taps, stride, dilation, before;

  FNN_HD int first_pixel(int phase) const { return (phase + stride - before % stride) % stride; }
  FNN_HD int pixels(int phase) const {
    const int first = first_pixel(phase);
    return first < size ? (size - 1 - first) / stride + 1 : 0;
  }
  // Taps that fall on the phase: the first one, and how far the next is.
  FNN_HD int first_tap(int phase) const {
    int tap = 0;
    while (tap < taps && tap * dilation % stride != phase) ++tap;
    return tap;
  }
  FNN_HD int period() const {
    int a = stride, b = dilation;
    while (b != 0) {
      const int rest = a % b;
      a = b;
      b = rest;
    }
    return stride / a;
  }
  FNN_HD int tap_count(int phase) const {
    const int first = first_tap(phase);
    return first < taps ? (taps - 1 - first) / period() + 1 : 0;
  }
  // Of dz: the row that the phase's first pixel takes its first tap from, and how far the next tap's is before it.
  FNN_HD int first_output(int phase) const {
    return (first_pixel(phase) + before) / stride - first_tap(phase) * dilation / stride;
  }
  FNN_HD int output_step() const { return period() * dilation / stride; }
};

// Pixels of dx, which lie apart.
struct PixelOutput {
  float* dx;
  WindowOrigins pixels;

  template <int kWidth>
  __device__ void finish(int row, int column, const float* sums) const {
    store_channels(dx + pixels(row).offset + column, load_channels<kWidth>(sums));
  }
};

template <int width>
struct ConvInputProblem {
  static constexpr int kWidth = width, kBand = 1;
  using A = WindowOperand<true>;
  using B = TurnedWeights;
  using Part = ProductPart<A, B>;

  const float* dz;
  const float* w;
  float* dx;
  PhaseAxis y, x;
  FastDivisor filters;  // of a group
  int n, groups, oh, ow, c, f, group_c;

  FNN_HD int parts() const { return y.stride * x.stride * groups; }
  FNN_HD int largest_part() const {
    return n * ((y.size + y.stride - 1) / y.stride) * ((x.size + x.stride - 1) / x.stride);
  }

  FNN_HD Part part(int number) const {
    const int phase = number / groups, group = number - phase * groups, group_f = filters.divisor();
    const int py = phase / x.stride, px = phase - py * x.stride, taps_x = x.tap_count(px), line = ow * f;
    const int depth = y.tap_count(py) * taps_x * group_f;
    const FastDivisor taps_per_row(taps_x > 1 ? taps_x : 1);
    WindowOrigins origins = pixels(py, px);
    origins = {origins.per_image,  origins.per_row,    origins.count, 1,    1,
               y.first_output(py), x.first_output(px), oh * line,     line, f};
    const WindowTaps taps = {filters, taps_per_row, depth, -y.output_step(), -x.output_step(), line, f};
    const B weights = {w + group * group_f, filters,    taps_per_row, group_c, depth,       y.first_tap(py),
                       x.first_tap(px),     y.period(), x.period(),   x.taps,  group_c * f, f};
    return {{dz + group * group_f, oh, ow, origins, taps}, weights, origins.count, group_c, 0, depth};
  }
  FNN_HD PixelOutput output_of(int number) const {
    const int phase = number / groups, group = number - phase * groups, py = phase / x.stride;
    return {dx + group * group_c, pixels(py, phase - py * x.stride)};
  }

 private:
  // Of dx.
  FNN_HD WindowOrigins pixels(int py, int px) const {
    const int lines = y.pixels(py), across = x.pixels(px), line = x.size * c;
    const FastDivisor per_image(lines * across > 1 ? lines * across : 1), per_row(across > 1 ? across : 1);
    return {per_image,         per_row,           n * lines * across, y.stride, x.stride,
            y.first_pixel(py), x.first_pixel(px), y.size * line,      line,     c};
  }
};

// Some columns of dw, or of a part of it.
struct WeightOutput {
  float* dw;
  int line;
  bool accumulate;

  template <int kWidth>
  __device__ void finish(int row, int column, const float* sums) const {
    auto values = load_channels<kWidth>(sums);
    float* to = dw + std::int64_t{row} * line + column;
    if (accumulate) {
      const auto before = load_channels<kWidth>(to);
      for (int i = 0; i < kWidth; ++i) values.at[i] += before.at[i];
    }
    store_channels(to, values);
  }
};

// Split number i sums `pixels` output pixels from i * pixels on, into a dw of its own, the i-th behind output.dw.
template <int width>
struct ConvWeightProblem {
  static constexpr int kWidth = width, kBand = 1;
  using A = WindowOperand<false>;
  using B = MatrixOperand<false, int>;
  using Part = ProductPart<A, B>;

  A windows;
  B gradient;
  WeightOutput output;
  int group_c, group_f, groups, pixels;
  std::int64_t all_pixels;

  FNN_HD Part part(int number) const {
    const int split = number / groups, group = number - split * groups;
    const std::int64_t first = std::int64_t{split} * pixels, left = all_pixels - first;
    const int per_image = windows.origins.per_image.divisor();
    const std::int64_t image = first / per_image;
    // Numbered from the first pixel of the image on.
    const int begin = static_cast<int>(first - image * per_image);
    const int end = begin + static_cast<int>(left < pixels ? left : pixels);
    Part p = {windows, gradient, windows.taps.count, group_f, begin, end};
    p.a.data += image * windows.origins.image + group * group_c;
    p.a.origins.count = end;
    p.b.data += image * per_image * gradient.line + group * group_f;
    return p;
  }
  FNN_HD WeightOutput output_of(int number) const {
    const int split = number / groups, group = number - split * groups;
    WeightOutput part = output;
    part.dw += std::int64_t{split} * output.line * windows.taps.count + group * group_f;
    return part;
  }
};

}  // namespace fnn::cuda
