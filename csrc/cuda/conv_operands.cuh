// The operands of convolution's three matrix products: images read through windows, and matrices.
//
// Neither windows nor the matrix that im2col would make of them are ever stored: an element of it is image data at the
// sum of two places, one of an output pixel (where its window begins) and one of a tap and channel (where that is in
// the window); outside of the image it is zero.
#pragma once
#include <cstdint>

#include "base/macros.h"
#include "cuda/fast_divisor.h"

namespace fnn::cuda {

// Part of a place in images: an offset in floats, and row and column to compare with the image's size. Whoever launches
// a kernel sees to it that 32 bits are enough for the images it is given.
struct alignas(16) ImagePlace {
  int offset, y, x;
};
inline constexpr int kOutside = -(1 << 30);  // outside, whatever is added to it

// Where the windows of pixels begin, numbered over all images.
struct WindowOrigins {
  FastDivisor per_image, per_row;
  int count;
  int stride_y, stride_x, first_y, first_x;
  int image, row, column;  // floats from one to the next

  FNN_HD ImagePlace operator()(int i) const {
    if (i >= count) return {0, kOutside, 0};
    const int n = per_image.quotient(i), rest = i - n * per_image.divisor();
    const int line = per_row.quotient(rest);
    const int y = line * stride_y + first_y, x = (rest - line * per_row.divisor()) * stride_x + first_x;
    return {n * image + y * row + x * column, y, x};
  }
};

// Where taps and channels, channels running fastest, are in a window.
struct WindowTaps {
  FastDivisor channels, per_row;
  int count;  // taps * channels
  int step_y, step_x;
  int row, column;

  FNN_HD ImagePlace operator()(int i) const {
    if (i >= count) return {0, kOutside, 0};
    const int tap = channels.quotient(i), line = per_row.quotient(tap);
    const int y = line * step_y, x = (tap - line * per_row.divisor()) * step_x;
    return {y * row + x * column + (i - tap * channels.divisor()), y, x};
  }
};

// Windows of images as a matrix: rows are pixels and depth is taps and channels, or the other way round.
template <bool along_depth>
struct WindowOperand {
  static constexpr bool kAlongDepth = along_depth;
  using Row = ImagePlace;
  using Depth = ImagePlace;

  const float* data;
  int h, w;
  WindowOrigins origins;
  WindowTaps taps;

  FNN_HD Row row(int i) const {
    if constexpr (along_depth)
      return origins(i);
    else
      return taps(i);
  }
  FNN_HD Depth depth(int k) const {
    if constexpr (along_depth)
      return taps(k);
    else
      return origins(k);
  }
  FNN_HD bool present(const Row& row, const Depth& depth) const {
    return static_cast<unsigned>(row.y + depth.y) < static_cast<unsigned>(h) &&
           static_cast<unsigned>(row.x + depth.x) < static_cast<unsigned>(w);
  }
  FNN_HD const float* at(const Row& row, const Depth& depth) const { return data + (row.offset + depth.offset); }
};

// Weights [kh, kw, c, f] with c as rows; depth is some taps, an arithmetic sequence along each axis, and f.
struct TurnedWeights {
  static constexpr bool kAlongDepth = true;
  using Row = int;
  using Depth = int;

  const float* data;
  FastDivisor filters, per_row;  // of a group; taps of a kernel row
  int rows, count;
  int first_y, first_x, step_y, step_x, kernel_row;
  int tap, channel;  // floats from one to the next

  FNN_HD Row row(int i) const { return i < rows ? i * channel : kOutside; }
  FNN_HD Depth depth(int k) const {
    if (k >= count) return kOutside;
    const int number = filters.quotient(k), line = per_row.quotient(number);
    const int y = first_y + line * step_y, x = first_x + (number - line * per_row.divisor()) * step_x;
    return (y * kernel_row + x) * tap + (k - number * filters.divisor());
  }
  FNN_HD bool present(Row row, Depth depth) const { return row + depth >= 0; }
  FNN_HD const float* at(Row row, Depth depth) const { return data + (row + depth); }
};

}  // namespace fnn::cuda
