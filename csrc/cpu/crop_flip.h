// Random crops and flips of NHWC images, and their gradient.
//
// Image i is cropped at (top, left), then flipped. The four words of Philox(key = state[0], counter = (i, step,
// stream)) draw top and left from their ranges and decide on each flip, so that the draw depends neither on the number
// of threads nor on the instruction set, and the gradient draws it again.
#pragma once
#include <cstdint>

#include "base/kernel.h"

namespace fnn::cpu {

// One axis of the crop: `size` pixels of the image, `out` of the crop, which begins at a pixel from `first` to `last`;
// these may lie outside of the image, where it is zero.
struct CropAxis {
  std::int64_t size, out, first, last;
  bool flips;  // with probability one half
};

// y[i] = flip(crop(x[i])); or, `back`, x's gradient from y's: y is [images, rows.size, cols.size, channels] then.
struct CropFlip : Kernel {
  CropAxis rows, cols;
  std::int64_t images, channels;
  const float* x;
  float* y;
  const std::uint64_t* state;  // seed and step: [2], read when the kernel runs
  std::uint32_t stream;
  bool back;

  std::int64_t work() const { return images * rows.out * cols.out * channels; }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
