// Random crops and flips of images: what is drawn for an image, and which pixel goes where.
//
// The four words of Philox(key = state[0], counter = (image, state[1], stream)) draw the crop's top and left from their
// ranges and decide on each flip: any thread or device draws the same.
#pragma once
#include <cstdint>

#include "base/macros.h"
#include "math/random.h"

namespace fnn {

// One axis of the crop: `size` pixels of the image, `out` of the crop, which begins at a pixel from `first` to `last`;
// these may lie outside of the image, where it is zero.
struct CropAxis {
  std::int64_t size, out, first, last;
  bool flips;  // with probability one half
};

// Pixel i of an axis of the result is pixel start + step * i of the source, where that exists; step is 1 or -1.
struct CropMapping {
  std::int64_t start, step;

  FNN_HD FNN_INLINE std::int64_t source(std::int64_t i) const { return start + step * i; }
};

struct CropMappings {
  CropMapping rows, cols;
};

// An integer from first to last, by multiplication instead of a division (bias below 2^-32 times their number).
FNN_HD FNN_INLINE std::int64_t draw_corner(std::uint64_t word, const CropAxis& axis) {
  const auto count = static_cast<std::uint64_t>(axis.last - axis.first + 1);
  return axis.first + static_cast<std::int64_t>(((word & 0xffffffffu) * count) >> 32);
}

// From the crop to the image, or back from the image to the crop.
FNN_HD FNN_INLINE CropMapping crop_mapping(const CropAxis& axis, std::int64_t corner, bool flipped, bool back) {
  if (!flipped) return {back ? -corner : corner, 1};
  return {corner + axis.out - 1, -1};
}

// What is drawn for image number `image`.
FNN_HD FNN_INLINE CropMappings draw_crop(const CropAxis& rows, const CropAxis& cols, std::int64_t image,
                                         std::uint64_t key, std::uint64_t step, std::uint32_t stream, bool back) {
  const auto index = static_cast<std::uint64_t>(image);
  const PhiloxBlock<std::uint64_t> words = philox<std::uint64_t>({{index, index >> 32, step, stream}}, key);
  const bool turned = cols.flips && (words.word[2] >> 31 & 1) != 0;
  const bool upside_down = rows.flips && (words.word[3] >> 31 & 1) != 0;
  return {crop_mapping(rows, draw_corner(words.word[0], rows), upside_down, back),
          crop_mapping(cols, draw_corner(words.word[1], cols), turned, back)};
}

}  // namespace fnn
