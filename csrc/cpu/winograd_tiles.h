// What the passes of a Winograd convolution share: where tiles and their pixels lie, and the products of all points.
#pragma once
#include <algorithm>

#include "cpu/arena.h"
#include "cpu/conv.h"
#include "cpu/lanes.h"
#include "cpu/panel.h"
#include "cpu/winograd_transform.h"

namespace fnn::cpu::winograd {

inline std::int64_t whole_vectors(std::int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// Distance between the matrices of two points: an odd number of cache lines, so that the 36 stores of a transform don't
// fall into one set of the first-level cache.
inline std::int64_t plane(std::int64_t floats) { return (((floats + 15) / 16) | 1) * 16; }

// The tiles of 4x4 outputs that cover the images, numbered row by row.
struct Tiles {
  std::int64_t rows, columns, count;
  std::int64_t per_image() const { return rows * columns; }
  explicit Tiles(const ConvShape& s)
      : rows((s.oh + kOut - 1) / kOut), columns((s.ow + kOut - 1) / kOut), count(s.n * rows * columns) {}

  struct Place {
    std::int64_t image, i, j;  // of the tile's first output
  };
  Place place(std::int64_t tile) const {
    return {tile / (rows * columns), tile / columns % rows * kOut, tile % columns * kOut};
  }
};

// Tiles to take through all steps at once: as many as keep their transforms in the second-level cache, but enough that
// the weights are read rarely.
inline std::int64_t block_size(const ConvShape& s) {
  constexpr std::int64_t kCachedFloats = 96 * 1024;
  return std::clamp<std::int64_t>(kCachedFloats / (kPoints * (whole_vectors(s.c) + whole_vectors(s.f))), 32, 112);
}

// Cuts tiles into blocks of equal size, and calls visit(block) for each.
template <class Visit>
void for_blocks(const ConvShape& s, Range tiles, const Visit& visit) {
  const std::int64_t blocks = (tiles.size() + block_size(s) - 1) / block_size(s);
  for (std::int64_t b = 0; b < blocks; ++b)
    visit(Range{tiles.begin + tiles.size() * b / blocks, tiles.begin + tiles.size() * (b + 1) / blocks});
}

// A thread's room for one block of tiles, one matrix for each point.
struct Transformed {
  std::int64_t width_in, width_out, plane_in, plane_out;
  float* edge;
  float* in;     // of the input, [36][block, width_in]
  float* out;    // of the output or its gradient, [36][block, width_out]
  float* zeros;  // a pixel beyond the image

  Transformed(const ConvShape& s, ArenaCutter& cut)
      : width_in(whole_vectors(s.c)),
        width_out(whole_vectors(s.f)),
        plane_in(plane(block_size(s) * width_in)),
        plane_out(plane(block_size(s) * width_out)),
        edge(cut.take<float>(kEdgeFloats)),
        in(cut.take<float>(kPoints * plane_in)),
        out(cut.take<float>(kPoints * plane_out)),
        zeros(cut.take<float>(std::max(width_in, width_out))) {}

  void clear_zeros() const { std::fill(zeros, zeros + std::max(width_in, width_out), 0.f); }
};

// The pixels of a kSide x kSide window whose first one is (i0, j0) of the image; `outside` stands for those beyond it.
template <int kSide, class Float>
struct Window {
  Float* at[kSide * kSide];

  Window(Float* image, std::int64_t h, std::int64_t w, std::int64_t channels, std::int64_t i0, std::int64_t j0,
         Float* outside) {
    for (int i = 0; i < kSide; ++i) {
      const bool in_rows = i0 + i >= 0 && i0 + i < h;
      for (int j = 0; j < kSide; ++j) {
        const bool inside = in_rows && j0 + j >= 0 && j0 + j < w;
        at[i * kSide + j] = inside ? image + ((i0 + i) * w + j0 + j) * channels : outside;
      }
    }
  }
};

// The transform of one tile of `channels` channels: row `row` of the 36 matrices [tiles, whole_vectors(channels)].
template <class Map, class Pixels>
FNN_INLINE void transform_pixels(const Pixels& pixels, std::int64_t channels, float* row, std::int64_t plane) {
  for_lanes(0, channels, [&](std::int64_t c, auto lanes) {
    transform<Map>([&](int i, int j) { return load(pixels.at[i * Map::kFrom + j] + c, lanes); },
                   [&](int i, int j, Vec value) { store(row + (i * Map::kTo + j) * plane + c, value); });
  });
}

// Columns of B are cut into panels of this many vectors.
inline int panel_width(std::int64_t columns_left) { return panel_vectors(kMaxTileRows, columns_left) * kLanes; }

}  // namespace fnn::cpu::winograd
