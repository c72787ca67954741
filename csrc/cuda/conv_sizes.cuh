// What the host says of a convolution before it is launched.
#pragma once
#include <algorithm>
#include <string>

#include "cpu/conv.h"
#include "cuda/conv_operands.cuh"
#include "cuda/error.h"
#include "cuda/pack.cuh"

namespace fnn::cuda {

// Numbers and offsets are 32-bit ones within a launch: half the registers, and registers decide how large a tile can
// be.
inline int narrow(std::int64_t size) {
  FNN_CHECK(size >= 0 && size < (1 << 30),
            "a convolution on a GPU takes sizes below 2^30, got " + std::to_string(size));
  return static_cast<int>(size);
}
inline FastDivisor divisor(std::int64_t size) { return FastDivisor(std::max(1, narrow(size))); }

// Floats of an image or of its output, and how many of them go into one launch.
inline std::int64_t image_floats(const cpu::ConvShape& s) {
  return narrow(std::max(s.pixels() * s.f, s.h * s.w * s.c));
}
inline std::int64_t images_per_launch(const cpu::ConvShape& s) {
  const std::int64_t most = std::max({image_floats(s), s.pixels(), s.h * s.w, std::int64_t{1}});
  return std::max<std::int64_t>(1, ((std::int64_t{1} << 30) - 1) / most);
}

// Whether each pixel and each line of weights of a group begins at a multiple of 16 bytes.
template <class... T>
bool in_fours(const cpu::ConvShape& s, const T*... pointers) {
  return s.group_c() % kPack == 0 && s.group_f() % kPack == 0 && aligned(pointers...);
}

// The windows of `images` images from x on.
template <bool along_depth>
WindowOperand<along_depth> windows_of(const cpu::ConvShape& s, const float* x, std::int64_t images) {
  const int row = narrow(s.w * s.c), c = narrow(s.c);
  const WindowOrigins origins = {
      divisor(s.pixels()), divisor(s.ow),   narrow(images * s.pixels()), narrow(s.sh), narrow(s.sw),
      -narrow(s.top),      -narrow(s.left), narrow(s.h * row),           row,          c};
  const WindowTaps taps = {divisor(s.group_c()), divisor(s.kw), narrow(s.depth()), narrow(s.dh), narrow(s.dw), row, c};
  narrow(s.padded_h() + s.h + s.top);
  narrow((s.padded_h() + s.h) * row);  // where windows that stick out of the image would be
  return {x, narrow(s.h), narrow(s.w), origins, taps};
}

}  // namespace fnn::cuda
