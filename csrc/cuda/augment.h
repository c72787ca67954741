// One pass on the GPU from stored images to the float32 batch: gather by index, crop with padding, flip, normalise. The
// counterpart of the CPU's data path, fastnn/data/_augment.pyx, which draws the same.
#pragma once
#include <cstdint>

#include "math/random_crop.h"

namespace fnn::cuda {

// out[i] = flip(crop(x[index[i]])) * scale + shift, by channel; what lies outside of the image counts as a stored 0.
// The draw of math/random_crop.h is that of sample number index[i], with seed and epoch from `state` when the kernel
// runs. A number that is no sample's gives an image of NaN.
struct AugmentBatch {
  const void* x;  // [samples, rows.size, cols.size, channels], uint8 or float32
  bool bytes;
  std::int64_t samples, count, channels;
  CropAxis rows, cols;
  const std::int64_t* index;
  float* out;  // [count, rows.out, cols.out, channels]
  const float *scale, *shift;
  const std::uint64_t* state;  // seed and epoch: [2]
  std::uint32_t stream;
};

}  // namespace fnn::cuda
