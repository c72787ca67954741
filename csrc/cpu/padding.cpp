#include "cpu/padding.h"

#include <algorithm>

namespace fnn::cpu {

void pad_image(const float* src, std::int64_t h, std::int64_t w, std::int64_t c, std::int64_t top, std::int64_t left,
               float* dst, std::int64_t dst_h, std::int64_t dst_w) {
  const std::int64_t first = std::clamp<std::int64_t>(left, 0, dst_w);
  const std::int64_t last = std::clamp<std::int64_t>(left + w, first, dst_w);
  for (std::int64_t i = 0; i < dst_h; ++i) {
    float* row = dst + i * dst_w * c;
    if (i < top || i >= top + h) {
      std::fill(row, row + dst_w * c, 0.f);
      continue;
    }
    const float* from = src + ((i - top) * w + first - left) * c;
    std::fill(row, row + first * c, 0.f);
    std::copy(from, from + (last - first) * c, row + first * c);
    std::fill(row + last * c, row + dst_w * c, 0.f);
  }
}

}  // namespace fnn::cpu
