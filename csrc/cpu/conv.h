// Two-dimensional convolution of NHWC images and its gradients, as matrix products over shifted views: no im2col
// buffer.
//
//   y[n, i, j, f] = act(b[f] + sum over r, s, c of  x[n, i*sh + r*dh - top, j*sw + s*dw - left, c] w[r, s, c, f])
//
// In NHWC the elements (s, c) of one kernel row are contiguous in the image, so output pixel p is the sum over kernel
// rows of a vector-matrix product whose vector lies in the (zero-padded) image: a segment of cpu/tile.h.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "cpu/epilogue.h"

namespace fnn::cpu {

struct ConvShape {
  std::int64_t n, h, w, c;  // images
  std::int64_t kh, kw, f;   // kernel [kh, kw, c/groups, f]
  std::int64_t oh, ow;      // output
  std::int64_t sh, sw;      // strides
  std::int64_t top, left;   // zeros before the first row and column
  std::int64_t dh, dw;      // dilations
  std::int64_t groups;

  std::int64_t group_c() const { return c / groups; }
  std::int64_t group_f() const { return f / groups; }
  std::int64_t depth() const { return kh * kw * group_c(); }
  std::int64_t pixels() const { return oh * ow; }
  // The part of the padded image that the outputs look at.
  std::int64_t padded_h() const { return oh == 0 ? 0 : (oh - 1) * sh + (kh - 1) * dh + 1; }
  std::int64_t padded_w() const { return ow == 0 ? 0 : (ow - 1) * sw + (kw - 1) * dw + 1; }
  bool needs_padding() const { return top != 0 || left != 0 || padded_h() > h || padded_w() > w; }
  std::int64_t row() const {
    return (needs_padding() ? padded_w() : w) * c;
  }  // floats between rows of the padded image
  std::int64_t work() const { return n * pixels() * depth() * f / 5; }
  // A 1x1 convolution that is the matrix product of all pixels with the weights.
  bool is_product() const {
    return kh == 1 && kw == 1 && sh == 1 && sw == 1 && groups == 1 && oh == h && ow == w && top == 0 && left == 0;
  }
};

// Images, or their outputs, of which the first in memory has number `first`: all of them, or a few in scratch memory.
template <class Float>
struct Images {
  Float* data;
  std::int64_t floats;  // of one
  std::int64_t first = 0;
  Float* operator[](std::int64_t image) const { return data + (image - first) * floats; }
};

// The three passes below run as a whole, or, as part of a kernel that needs a few images at a time, in steps: `prepare`
// by all threads, a barrier, then any images by any thread.

struct ConvForward : Kernel {
  ConvShape shape;
  const float* x;
  const float* w;
  float* y;
  Epilogue epilogue;

  std::int64_t work() const { return shape.work(); }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;

  void prepare(const Worker& worker) const;  // weights, into shared scratch
  void compute(const Worker& worker, Range images, Images<float> to) const;
};

// dx = the gradient for x, given dz [n, oh, ow, f].
struct ConvInputGradient : Kernel {
  ConvShape shape;
  const float* w;
  const float* dz;
  float* dx;

  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;

  void prepare(const Worker& worker) const;  // weights, into shared scratch
  void compute(const Worker& worker, Range images, Images<const float> from) const;
};

// dw = the gradient for w, or dw += with accumulate.
struct ConvWeightGradient : Kernel {
  ConvShape shape;
  const float* x;
  const float* dz;
  float* dw;
  bool accumulate;

  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;

  // Whether each thread sums the images it is given into a part of its own, in shared scratch. (Else, dw being large,
  // threads share out its rows, and there are no steps.)
  bool in_parts(int threads) const;
  static constexpr std::int64_t kLargestPart = 256 * 1024;  // floats of dw that are always summed in parts
  void add(const Worker& worker, Range images, Images<const float> from, bool first) const;
  void finish(const Worker& worker) const;  // after a barrier; threads without images have added none, {0, 0}
};

// dz = dy f'(saved), then db, dw and dx, each unless null; dw and db are added to with accumulate.
struct ConvGradients : Kernel {
  ConvShape shape;
  const float* x;
  const float* w;
  const float* saved;
  const float* dy;
  float* dz;
  float* dw;
  float* db;
  float* dx;
  Activation activation;
  float alpha;
  bool accumulate;

  std::int64_t work() const { return 2 * shape.work(); }
  ConvWeightGradient weight_gradient() const { return {{}, shape, x, dz, dw, accumulate}; }
  ConvInputGradient input_gradient() const { return {{}, shape, w, dz, dx}; }
};

struct ConvBackward : ConvGradients {
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
