#include "cpu/crop_flip.h"

#include <algorithm>
#include <cstring>

namespace fnn::cpu {
namespace {

// The pixels of a result of `out` pixels that come from inside a source of `size`.
Range inside(CropMapping map, std::int64_t size, std::int64_t out) {
  const std::int64_t begin = map.step > 0 ? -map.start : map.start - size + 1;
  const std::int64_t end = map.step > 0 ? size - map.start : map.start + 1;
  const std::int64_t first = std::clamp<std::int64_t>(begin, 0, out);
  return {first, std::clamp<std::int64_t>(end, first, out)};
}

void copy_row(const float* from, CropMapping cols, Range inside, std::int64_t width, std::int64_t channels, float* to) {
  std::fill(to, to + inside.begin * channels, 0.f);
  const float* source = from + (cols.start + cols.step * inside.begin) * channels;
  float* target = to + inside.begin * channels;
  if (cols.step > 0) {
    if (inside.size() > 0) std::memcpy(target, source, static_cast<std::size_t>(inside.size() * channels) * 4);
  } else if (channels == 1) {
    for (std::int64_t j = 0; j < inside.size(); ++j) target[j] = source[-j];
  } else {
    for (std::int64_t j = 0; j < inside.size(); ++j, source -= channels)
      for (std::int64_t c = 0; c < channels; ++c) *target++ = source[c];
  }
  std::fill(to + inside.end * channels, to + width * channels, 0.f);
}

}  // namespace

void CropFlip::operator()(const Worker& worker) const {
  const std::int64_t from_h = back ? rows.out : rows.size, from_w = back ? cols.out : cols.size;
  const std::int64_t to_h = back ? rows.size : rows.out, to_w = back ? cols.size : cols.out;
  const std::uint64_t key = state[0], step = state[1];
  const Range mine = share(images, worker.rank, worker.size);
  for (std::int64_t i = mine.begin; i < mine.end; ++i) {
    const auto [row, col] = draw_crop(rows, cols, i, key, step, stream, back);
    const Range inside_rows = inside(row, from_h, to_h), inside_cols = inside(col, from_w, to_w);
    const float* from = x + i * from_h * from_w * channels;
    float* to = y + i * to_h * to_w * channels;
    for (std::int64_t r = 0; r < to_h; ++r, to += to_w * channels) {
      if (r < inside_rows.begin || r >= inside_rows.end)
        std::fill(to, to + to_w * channels, 0.f);
      else
        copy_row(from + (row.start + row.step * r) * from_w * channels, col, inside_cols, to_w, channels, to);
    }
  }
}

}  // namespace fnn::cpu
