// A panel of columns times a range of rows: cuts the rows into tiles and finishes each while it is in cache.
//
// Matrix products and convolutions share it; they differ only in where a row lies (RowMap) and in the segments.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/thread_team.h"
#include "cpu/ahead.h"
#include "cpu/epilogue.h"
#include "cpu/tile.h"

namespace fnn::cpu {

struct Panel {
  Tile tile;    // a_rows and c_rows are filled in for each tile; c, bias and b point at the panel's first column
  int vectors;  // width in vectors of B's panel
  std::int64_t columns;  // how many of them are real: B is padded with zeros beyond
  float* z;              // as in Epilogue, from the panel's first column on
  Activation activation;
  float alpha;
  Ahead* ahead;  // what to fetch meanwhile, or null
};

// Room for a tile that sticks out of C, and for its bias.
inline constexpr std::int64_t kEdgeFloats = (kMaxTileRows + 1) * kMaxTileVectors * kLanes;

// Width for the next panel: wide when there are few rows, narrow when few columns are left.
inline int panel_vectors(std::int64_t rows, std::int64_t columns_left) {
  if (columns_left <= kLanes) return 1;
  return rows <= max_tile_rows(4) && columns_left > 2 * kLanes ? 4 : 2;
}

// Rows of the tiles that `rows` rows are cut into: as even as the tallest tile allows (32 is 11 + 11 + 10).
inline std::int64_t tile_rows(std::int64_t rows, int vectors) {
  const std::int64_t tiles = (rows + max_tile_rows(vectors) - 1) / max_tile_rows(vectors);
  return tiles == 0 ? 1 : (rows + tiles - 1) / tiles;
}

void activate(Activation activation, float alpha, const float* z, float* y, std::int64_t count);

// Runs `panel` for rows [rows.begin, rows.end); map(i, a, c) gives the offsets of row i in A and in C.
template <class RowMap>
void multiply_panel(const Panel& panel, Range rows, const RowMap& map, float* edge) {
  const std::int64_t width = panel.vectors * kLanes, height = tile_rows(rows.size(), panel.vectors);
  const bool partial = panel.columns < width;
  const bool activated = panel.activation != Activation::linear && panel.activation != Activation::relu;
  const bool keeps_z = panel.z != nullptr;
  std::int64_t a_rows[kMaxTileRows], c_rows[kMaxTileRows], edge_rows[kMaxTileRows];
  for (int r = 0; r < kMaxTileRows; ++r) edge_rows[r] = r * width;

  Tile tile = panel.tile;
  tile.a_rows = a_rows;
  tile.c_rows = partial ? edge_rows : c_rows;
  tile.relu = panel.activation == Activation::relu && !keeps_z;
  float* sum = keeps_z ? panel.z : panel.tile.c;
  tile.c = partial ? edge : sum;
  if (partial && tile.bias != nullptr) {
    float* bias = edge + kMaxTileRows * width;
    std::memcpy(bias, panel.tile.bias, static_cast<std::size_t>(panel.columns) * sizeof(float));
    tile.bias = bias;
  }
  const std::size_t row_bytes = static_cast<std::size_t>(panel.columns) * sizeof(float);
  for (std::int64_t first = rows.begin; first < rows.end; first += height) {
    const int count = static_cast<int>(std::min(height, rows.end - first));
    for (int r = 0; r < count; ++r) map(first + r, a_rows[r], c_rows[r]);
    if (partial && tile.accumulate)
      for (int r = 0; r < count; ++r) std::memcpy(edge + edge_rows[r], sum + c_rows[r], row_bytes);
    if (panel.ahead != nullptr) {
      tile.ahead = panel.ahead->to_read.next();
      tile.ahead_to_write = panel.ahead->to_write.next();
    }
    tile_function(count, panel.vectors)(tile);
    if (partial)
      for (int r = 0; r < count; ++r) std::memcpy(sum + c_rows[r], edge + edge_rows[r], row_bytes);
    if (activated || keeps_z)
      for (int r = 0; r < count; ++r)
        activate(panel.activation, panel.alpha, sum + c_rows[r], panel.tile.c + c_rows[r], panel.columns);
  }
}

// Rows to run through all panels of a product before the next ones: enough to use a panel well while it is in the
// first-level cache, few enough that the finished rows of C are written while they are in it too.
inline std::int64_t chunk_rows(std::int64_t columns, std::int64_t rows) {
  return columns <= 2 * kLanes ? std::max<std::int64_t>(rows, 1) : 4 * kMaxTileRows;
}

}  // namespace fnn::cpu
