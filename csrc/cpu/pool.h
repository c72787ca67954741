// Pooling over windows of NHWC images.
//
// Max pooling remembers each winner's position in its window. Both backward passes go over the pixels of dx and sum
// what the windows above a pixel send it: every pixel is written once, in a fixed order, whether windows overlap or
// leave gaps, and threads share the rows of the images without atomics or a pass that clears dx first.
#pragma once
#include <cstdint>

#include "base/kernel.h"

namespace fnn::cpu {

// One axis of a pooling: windows of `window` pixels, `stride` apart, the first beginning `pad` before the image; 0 <=
// pad < window, and the last window begins inside the image, so that none lies outside altogether.
struct PoolAxis {
  std::int64_t size, windows, window, stride, pad;

  // First pixel of a window; may lie in the padding.
  FNN_HD std::int64_t start(std::int64_t index) const { return index * stride - pad; }
  // The positions of a window that are inside the image.
  FNN_HD Range taps(std::int64_t index) const {
    const std::int64_t first = start(index), room = size - first;
    return {first < 0 ? -first : 0, room < window ? room : window};
  }
  // The windows that cover a pixel; may be empty. over_stride(n): n / stride, for whoever has a faster way.
  template <class Quotient>
  FNN_HD Range covering(std::int64_t pixel, const Quotient& over_stride) const {
    const std::int64_t at = pixel + pad, last = over_stride(at) + 1;
    const std::int64_t begin = at < window ? 0 : over_stride(at - window) + 1, end = last < windows ? last : windows;
    return {begin, end < begin ? begin : end};
  }
  FNN_HD Range covering(std::int64_t pixel) const { return covering(pixel, OverStride{stride}); }

 private:
  struct OverStride {
    std::int64_t stride;
    FNN_HD std::int64_t operator()(std::int64_t n) const { return n / stride; }
  };
};

struct Pooling {
  std::int64_t images, channels;
  PoolAxis rows, cols;

  FNN_HD std::int64_t area() const { return rows.window * cols.window; }
  FNN_HD std::int64_t input_row() const { return cols.size * channels; }      // floats in a row of x
  FNN_HD std::int64_t output_row() const { return cols.windows * channels; }  // and of y
  FNN_HD std::int64_t input_count() const { return images * rows.size * input_row(); }
  FNN_HD std::int64_t output_count() const { return images * rows.windows * output_row(); }
};

// y = maximum of the window's pixels, NaN if there is one; index = position of the winner in the window, row by row
// (the first maximum wins a tie, the last NaN among NaNs): uint8 or uint16 as index_bytes says, 0 for none.
struct MaxPoolForward : Kernel {
  Pooling shape;
  const float* x;
  float* y;
  void* index;
  int index_bytes;

  Scratch scratch(int /*threads*/) const { return {0, static_cast<std::size_t>(shape.cols.windows) * sizeof(Range)}; }
  std::int64_t work() const { return shape.output_count() * shape.area(); }
  void operator()(const Worker& worker) const;
};

struct MaxPoolBackward : Kernel {
  Pooling shape;
  const float* dy;
  const void* index;
  int index_bytes;
  float* dx;

  Scratch scratch(int /*threads*/) const { return {0, static_cast<std::size_t>(shape.cols.size) * sizeof(Range)}; }
  std::int64_t work() const { return shape.input_count(); }
  void operator()(const Worker& worker) const;
};

// y = mean of the window's pixels; the padding does not count.
struct AveragePoolForward : Kernel {
  Pooling shape;
  const float* x;
  float* y;

  Scratch scratch(int /*threads*/) const { return {0, static_cast<std::size_t>(shape.cols.windows) * sizeof(Range)}; }
  std::int64_t work() const { return shape.output_count() * shape.area(); }
  void operator()(const Worker& worker) const;
};

struct AveragePoolBackward : Kernel {
  Pooling shape;
  const float* dy;
  float* dx;

  Scratch scratch(int threads) const;
  std::int64_t work() const { return shape.input_count(); }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
