// Sizes of the matrix products in product.cuh.
#pragma once

namespace fnn::cuda {

inline constexpr int kLargestTileDepth = 32;  // of the tiles that A and B come in

// Tiles that keep the multiprocessors of a large GPU busy: where there are fewer, smaller ones are faster, although
// each element that they fetch is used less often.
inline constexpr long long kBusyTiles = 132;

struct ProductSize {
  int parts, rows, columns;  // rows of the tallest part

  int row_tiles(int rows_of_tile) const { return (rows + rows_of_tile - 1) / rows_of_tile; }
  int column_tiles(int columns_of_tile) const { return (columns + columns_of_tile - 1) / columns_of_tile; }
  long long tiles(int rows_of_tile, int columns_of_tile) const {
    return 1LL * parts * row_tiles(rows_of_tile) * column_tiles(columns_of_tile);
  }
};

}  // namespace fnn::cuda
