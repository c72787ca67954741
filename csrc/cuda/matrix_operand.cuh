// A matrix as it lies in memory, as an operand of the products in product.cuh.
#pragma once
#include <cstdint>

#include "cuda/async_copy.cuh"
#include "cuda/product_tile.cuh"

namespace fnn::cuda {

// Depth lies along the lines of memory, or across. Index holds numbers of rows, and of floats in a line.
template <bool along_depth, class Index>
struct MatrixOperand {
  static constexpr bool kAlongDepth = along_depth;

  const float* data;
  Index line;  // floats from one to the next
  Index rows;

  // Its element in the first row, and at this depth.
  FNN_HD const float* at_depth(std::int64_t k) const { return data + (along_depth ? k : k * line); }
};

// As for any operand (product_tile.cuh), but the way from one place to the next is always the same: a pointer goes with
// the tiles, and nothing is to know of rows but how many there are.
template <bool along_depth, class Index, class Layout, int kRows, int kThreads, int kWidth>
class TileLoader<MatrixOperand<along_depth, Index>, Layout, kRows, kThreads, kWidth> {
 public:
  using Row = char;
  static constexpr int kKeptRows = 1;

  __device__ TileLoader(const MatrixOperand<along_depth, Index>& operand, Index first_row, int first_depth, Row*)
      : line_(operand.line) {
    const int along = Place::chunk(), across = Place::line();
    Index row = first_row + (along_depth ? across : along);
    if (kRepeats && row > operand.rows - kWidth) row = operand.rows - kWidth;
    const Index left = operand.rows - row;
    rows_ = left < kRows ? static_cast<int>(left) : kRows;
    const std::int64_t line = line_;
    const int depth = first_depth + (along_depth ? along : across);
    next_ = operand.data + (along_depth ? row * line + depth : row + depth * line);
  }

  // The next tile.
  __device__ void load(float* tile, int k, int end) {
    const int along = Place::chunk(), across = Place::line();
    float* const to = tile + (along_depth ? Layout::at(across, along) : Layout::at(along, across));
    const int depths = end - k - (along_depth ? along : across);
    const float* from = next_;
#pragma unroll
    for (int turn = 0; turn < Place::kTurns; ++turn) {
      constexpr int kDown = Place::kDown;
      if (Place::beyond(turn, across)) break;
#pragma unroll
      for (int part = 0; part < Place::kParts; ++part) {
        const int i = part * kWidth;
        if constexpr (along_depth)
          copy_async<4 * kWidth>(to + Layout::at(turn * kDown, 0) + i, from + i, turn * kDown < rows_ && i < depths);
        else
          copy_async<4 * kWidth>(to + Layout::at(0, turn * kDown) + i, from + i,
                                 (kRepeats || i < rows_) && turn * kDown < depths);
      }
      from += std::int64_t{line_} * kDown;
    }
    next_ += along_depth ? Layout::kDepth : std::int64_t{line_} * Layout::kDepth;
  }

 private:
  using Place = LoaderPlace<Layout, kRows, kThreads, kWidth>;
  // Beyond the last rows these come once more, instead of zeros: what is made of them isn't stored.
  static constexpr bool kRepeats = !along_depth && kWidth == 4;

  const float* next_;
  Index line_;
  int rows_;  // from this thread's first one on
};

}  // namespace fnn::cuda
