// Pooling over whole NHWC images: one number for each image and channel.
#pragma once
#include <cstdint>

#include "base/kernel.h"

namespace fnn::cpu {

struct GlobalPooling {
  std::int64_t images, height, width, channels;  // height and width > 0

  FNN_HD std::int64_t pixels() const { return height * width; }
  FNN_HD std::int64_t count() const { return images * pixels() * channels; }
};

// y[n,c] = mean of x[n,:,:,c]
struct GlobalAveragePoolForward : Kernel {
  GlobalPooling shape;
  const float* x;
  float* y;

  std::int64_t work() const { return shape.count(); }
  void operator()(const Worker& worker) const;
};

struct GlobalAveragePoolBackward : Kernel {
  GlobalPooling shape;
  const float* dy;
  float* dx;

  std::int64_t work() const { return shape.count(); }
  void operator()(const Worker& worker) const;
};

// y[n,c] = maximum of x[n,:,:,c], NaN if there is one; index[n,c] = pixel of the winner, row by row (the first maximum,
// the last NaN), or null.
struct GlobalMaxPoolForward : Kernel {
  GlobalPooling shape;
  const float* x;
  float* y;
  std::int32_t* index;

  std::int64_t work() const { return 2 * shape.count(); }
  void operator()(const Worker& worker) const;
};

struct GlobalMaxPoolBackward : Kernel {
  GlobalPooling shape;
  const float* dy;
  const std::int32_t* index;
  float* dx;

  std::int64_t work() const { return shape.count(); }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
