// Random crops and flips of NHWC images, and their gradient.
//
// Image i is cropped at (top, left), then flipped, as math/random_crop.h draws it: neither the number of threads nor
// the instruction set matters, and the gradient draws it again.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "math/random_crop.h"

namespace fnn::cpu {

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
