// What a product will need after its present block, fetched into cache bit by bit while that block is multiplied.
//
// The processor's own prefetchers don't follow a product's many short rows: of 25,088 x 256 times 256 x 64 they left a
// quarter of the time to waiting for main memory (79 instead of 111 GFLOP/s).
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/tile.h"

namespace fnn::cpu {

// Some stretches of memory, cut into a slice for each tile.
class Slices {
 public:
  // At most two.
  void add(const float* from, std::int64_t floats) {
    if (floats > 0 && count_ < 2) stretches_[count_++] = {from, floats};
  }
  // For `tiles` tiles of `depth` rows of B each.
  void share_out(std::int64_t tiles, std::int64_t depth) {
    const std::int64_t total = stretches_[0].floats + stretches_[1].floats,
                       rows = std::max<std::int64_t>(1, tiles * depth);
    step_ = (total + rows - 1) / rows;
    slice_ = step_ * depth;
  }
  // The next tile's slice.
  Tile::Stream next() {
    std::int64_t at = position_;
    position_ += slice_;
    for (const Stretch& stretch : stretches_) {
      if (at < stretch.floats) return {stretch.from + at, step_};
      at -= stretch.floats;
    }
    return {nullptr, 0};
  }

 private:
  struct Stretch {
    const float* from = nullptr;
    std::int64_t floats = 0;
  };
  Stretch stretches_[2];
  int count_ = 0;
  std::int64_t step_ = 0, slice_ = 0, position_ = 0;
};

struct Ahead {
  Slices to_read, to_write;
};

}  // namespace fnn::cpu
