#include "cpu/tile.h"

#include <utility>

namespace fnn::cpu {
namespace {

template <int kRows, int kVectors, class Body>
FNN_INLINE void for_each_vector(const Tile& tile, const Body& body) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    float* c = tile.c + tile.c_rows[r];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) body(r, v, c + v * kLanes);
  }
}

template <int kRows, int kVectors>
void multiply_tile(const Tile& tile) {
  Vec sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const Vec start = tile.bias != nullptr ? load(tile.bias + v * kLanes) : Vec(0.f);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum[r][v] = start;
  }
  // Fetch C's lines while the sum runs: it may come from main memory.
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) __builtin_prefetch(tile.c + tile.c_rows[r] + v * kLanes, 1);
  }
  std::int64_t rows[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) rows[r] = tile.a_rows[r];
  const std::int64_t ldb = tile.ldb, a_step = tile.a_step;
  Tile::Stream ahead = tile.ahead, ahead_to_write = tile.ahead_to_write;
  const float* in_cache = reinterpret_cast<const float*>(&tile);  // stands for nothing
  if (ahead.from == nullptr) ahead = {in_cache, 0};
  if (ahead_to_write.from == nullptr) ahead_to_write = {in_cache, 0};
  for (std::int64_t s = 0; s < tile.segment_count; ++s) {
    const Segment segment = tile.segments[s];
    const float* a = tile.a + segment.a;
    const float* b = tile.b + segment.k * ldb;
    for (std::int64_t t = segment.length; t > 0; --t) {
      __builtin_prefetch(ahead.from, 0, 2);
      __builtin_prefetch(ahead_to_write.from, 1, 3);
      ahead.from += ahead.step;
      ahead_to_write.from += ahead_to_write.step;
      Vec b_row[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) b_row[v] = load(b + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Vec element(a[rows[r]]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sum[r][v] += element * b_row[v];
      }
      a += a_step;
      b += ldb;
    }
  }
  if (tile.accumulate) for_each_vector<kRows, kVectors>(tile, [&sum](int r, int v, float* c) { sum[r][v] += load(c); });
  if (tile.relu)
    for_each_vector<kRows, kVectors>(tile, [&sum](int r, int v, float*) { sum[r][v] = max(sum[r][v], Vec(0.f)); });
  for_each_vector<kRows, kVectors>(tile, [&sum](int r, int v, float* c) { store(c, sum[r][v]); });
}

template <int kVectors, int... kRows>
TileFunction choose(int rows, std::integer_sequence<int, kRows...>) {
  static constexpr TileFunction functions[] = {multiply_tile<kRows + 1, kVectors>...};
  return functions[rows - 1];
}

}  // namespace

TileFunction tile_function(int rows, int vectors) {
  if (vectors == 1) return choose<1>(rows, std::make_integer_sequence<int, max_tile_rows(1)>());
  if (vectors == 2) return choose<2>(rows, std::make_integer_sequence<int, max_tile_rows(2)>());
  return choose<4>(rows, std::make_integer_sequence<int, max_tile_rows(4)>());
}

}  // namespace fnn::cpu
