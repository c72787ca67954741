// The one micro-kernel below every matrix product and convolution: a tile of C held in registers.
//
//   C[r][j] (+)= bias[j] + sum over segments s, over t < length_s:  A[a_rows[r] + a_s + t*a_step] * B[(k_s + t)*ldb +
//   j]
//
// A matrix product is one segment. A convolution is one segment per kernel row (its row of the NHWC image is contiguous
// over kernel column and channel), so no im2col buffer is needed. The rows of a tile may lie anywhere: a_rows and
// c_rows are tables.
#pragma once
#include <cstdint>

#include "cpu/simd.h"

namespace fnn::cpu {

struct Segment {
  std::int64_t a;       // offset into A, in elements
  std::int64_t k;       // first row of B
  std::int64_t length;  // rows of B
};

struct Tile {
  const float* a;
  const std::int64_t* a_rows;
  std::int64_t a_step;
  const float* b;
  std::int64_t ldb;
  const Segment* segments;
  std::int64_t segment_count;
  float* c;
  const std::int64_t* c_rows;
  const float* bias;  // a value for each column, or null
  bool accumulate;    // C += instead of C =
  bool relu;          // C = max(C, 0) at the end
  // Other memory to fetch into cache meanwhile, to read and to write: `step` floats further with every row of B.
  struct Stream {
    const float* from;  // null for none
    std::int64_t step;
  } ahead, ahead_to_write;
};

// Accumulators fill the registers, less two or three for B and the broadcast element of A.
#if defined(__AVX512F__)
inline constexpr int kMaxTileRows = 14;
#elif defined(__AVX2__)
inline constexpr int kMaxTileRows = 6;
#elif defined(__aarch64__)
inline constexpr int kMaxTileRows = 14;
#else
inline constexpr int kMaxTileRows = 6;
#endif
inline constexpr int kMaxTileVectors = 4;

// Rows a tile of this many vectors may have: half of them when it is twice as wide as usual.
constexpr int max_tile_rows(int vectors) { return vectors <= 2 ? kMaxTileRows : kMaxTileRows / 2; }

// The micro-kernel for a tile of `rows` (1 to max_tile_rows) by `vectors` (1, 2 or 4) * kLanes columns.
using TileFunction = void (*)(const Tile&);
TileFunction tile_function(int rows, int vectors);

}  // namespace fnn::cpu
