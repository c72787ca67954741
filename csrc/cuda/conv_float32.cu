// The matrix products of convolutions in float32.
#include "cuda/conv_problems.cuh"
#include "cuda/conv_product.h"
#include "cuda/product.cuh"
#include "cuda/product_ffma.cuh"

namespace fnn::cuda {
namespace {

template <int kRows, int kColumns, class Problem>
using Tile = FfmaTile<kRows, kColumns, 3, typename Problem::A, typename Problem::B>;

template <int kRows, int kColumns, class Problem>
void launch_tiles(const Problem& problem, const ProductSize& size, cudaStream_t stream) {
  launch_product<Tile<kRows, kColumns, Problem>>(problem, size, stream);
}

}  // namespace

template <Compute compute, class Problem>
void multiply_by(const Problem& problem, const ProductSize& size, cudaStream_t stream) {
  static_assert(compute == Compute::float32);
  static_assert(kBlockMemory<Problem, Tile<128, 64, Problem>> <= kLeastSharedMemory);
  if (size.columns <= 32) return launch_tiles<128, 32>(problem, size, stream);
  if constexpr (Problem::kWidth == 4) {
    if (size.columns > 64 && size.tiles(128, 128) >= kBusyTiles && fits<Problem, Tile<128, 128, Problem>>())
      return launch_tiles<128, 128>(problem, size, stream);
    if (size.tiles(128, 64) < kBusyTiles) return launch_tiles<64, 64>(problem, size, stream);
  }
  launch_tiles<128, 64>(problem, size, stream);
}

FNN_CONV_PRODUCTS(Compute::float32);

}  // namespace fnn::cuda
