#include "cpu/crop_flip.h"

#include <algorithm>
#include <cstring>

#include "math/random.h"

namespace fnn::cpu {
namespace {

// Pixel i of an axis of the result is pixel start + step * i of the source, where that exists; step is 1 or -1.
struct Mapping {
  std::int64_t start, step;

  // The pixels of a result of `out` pixels that come from inside a source of `size`.
  Range inside(std::int64_t size, std::int64_t out) const {
    const std::int64_t begin = step > 0 ? -start : start - size + 1, end = step > 0 ? size - start : start + 1;
    const std::int64_t first = std::clamp<std::int64_t>(begin, 0, out);
    return {first, std::clamp<std::int64_t>(end, first, out)};
  }
};

// An integer from first to last, by multiplication instead of a division (bias below 2^-32 times their number).
std::int64_t uniform(std::uint64_t word, const CropAxis& axis) {
  const auto count = static_cast<std::uint64_t>(axis.last - axis.first + 1);
  return axis.first + static_cast<std::int64_t>(((word & 0xffffffffu) * count) >> 32);
}

// From the crop to the image, or back from the image to the crop.
Mapping mapping(const CropAxis& axis, std::int64_t corner, bool flipped, bool back) {
  if (!flipped) return {back ? -corner : corner, 1};
  return {corner + axis.out - 1, -1};
}

void copy_row(const float* from, Mapping cols, Range inside, std::int64_t width, std::int64_t channels, float* to) {
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
    const auto index = static_cast<std::uint64_t>(i);
    const PhiloxBlock<std::uint64_t> words = philox<std::uint64_t>({{index, index >> 32, step, stream}}, key);
    const bool turned = cols.flips && (words.word[2] >> 31 & 1) != 0;
    const bool upside_down = rows.flips && (words.word[3] >> 31 & 1) != 0;
    const Mapping row = mapping(rows, uniform(words.word[0], rows), upside_down, back);
    const Mapping col = mapping(cols, uniform(words.word[1], cols), turned, back);
    const Range inside_rows = row.inside(from_h, to_h), inside_cols = col.inside(from_w, to_w);
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
