#include "cpu/pack.h"

#include <algorithm>

#include "cpu/simd.h"

namespace fnn::cpu {
namespace {

// One step of a transposition: exchanges, between rows `half` apart, the lanes that are `half` apart.
template <int half>
FNN_INLINE void exchange(Vec (&rows)[kLanes]) {
  NativeI32 low, high;
  for (int lane = 0; lane < kLanes; ++lane) {
    low[lane] = (lane & half) == 0 ? lane : lane - half + kLanes;
    high[lane] = (lane & half) == 0 ? lane + half : lane + kLanes;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kLanes; ++r) {
    if ((r & half) != 0) continue;
    const NativeF32 a = rows[r].v, b = rows[r + half].v;
    rows[r] = __builtin_shuffle(a, b, low);
    rows[r + half] = __builtin_shuffle(a, b, high);
  }
}

FNN_INLINE void transpose(Vec (&rows)[kLanes]) {
  exchange<1>(rows);
  exchange<2>(rows);
  if constexpr (kLanes > 4) exchange<4>(rows);
  if constexpr (kLanes > 8) exchange<8>(rows);
}

}  // namespace

void pack_columns(const float* b, std::int64_t ldb, std::int64_t rows, std::int64_t columns, std::int64_t width,
                  float* dst) {
  for (std::int64_t t = 0; t < rows; ++t, b += ldb, dst += width) {
    std::int64_t j = 0;
    for (; j + kLanes <= columns; j += kLanes) store(dst + j, load(b + j));
    for (; j < width; j += kLanes)
      store_partial(dst + j, load_partial(b + j, std::clamp<std::int64_t>(columns - j, 0, kLanes)),
                    std::min<std::int64_t>(kLanes, width - j));
  }
}

void pack_transposed(const float* b, std::int64_t ldb, std::int64_t rows, std::int64_t columns, std::int64_t width,
                     float* dst) {
  for (std::int64_t t = 0; t < rows; t += kLanes) {
    const std::int64_t depth = std::min<std::int64_t>(kLanes, rows - t);
    for (std::int64_t j = 0; j < width; j += kLanes) {
      Vec block[kLanes];
#pragma GCC unroll 16
      for (int lane = 0; lane < kLanes; ++lane) {
        const float* row = b + (j + lane) * ldb + t;
        if (j + lane >= columns)
          block[lane] = Vec(0.f);
        else
          block[lane] = depth == kLanes ? load(row) : load_partial(row, depth);
      }
      transpose(block);
      const std::int64_t room = std::min<std::int64_t>(kLanes, width - j);
      float* to = dst + t * width + j;
      if (room == kLanes && depth == kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) store(to + i * width, block[i]);
      } else {
        for (std::int64_t i = 0; i < depth; ++i) store_partial(to + i * width, block[i], room);
      }
    }
  }
}

}  // namespace fnn::cpu
