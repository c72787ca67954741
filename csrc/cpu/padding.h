// A zero-padded, or cropped, copy of one NHWC image: so that a kernel never has to ask whether a pixel exists.
#pragma once
#include <cstdint>

namespace fnn::cpu {

// dst[i, j, :] = src[i - top, j - left, :] where that exists, else 0. top and left may be negative.
void pad_image(const float* src, std::int64_t h, std::int64_t w, std::int64_t c, std::int64_t top, std::int64_t left,
               float* dst, std::int64_t dst_h, std::int64_t dst_w);

}  // namespace fnn::cpu
