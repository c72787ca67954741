// Sizes of the matrix products in product.cuh, and of their parts.
#pragma once
#include <cstdint>

namespace fnn::cuda {

inline constexpr int kLargestTileDepth = 32;  // of the tiles that A and B come in

// Tiles that keep the multiprocessors of a large GPU busy: where there are fewer, smaller ones are faster, although
// each element that they fetch is used less often.
inline constexpr std::int64_t kBusyTiles = 132;

struct ProductSize {
  std::int64_t parts, rows, columns;  // rows of the tallest part

  std::int64_t row_tiles(int rows_of_tile) const { return (rows + rows_of_tile - 1) / rows_of_tile; }
  std::int64_t column_tiles(int columns_of_tile) const { return (columns + columns_of_tile - 1) / columns_of_tile; }
  std::int64_t tiles(int rows_of_tile, int columns_of_tile) const {
    return parts * row_tiles(rows_of_tile) * column_tiles(columns_of_tile);
  }
};

// One of the independent products of a problem; Index: that of rows and columns.
template <class OperandA, class OperandB, class Index = int>
struct ProductPart {
  OperandA a;
  OperandB b;
  Index rows, columns;
  int begin, end;  // in depth
};

}  // namespace fnn::cuda
