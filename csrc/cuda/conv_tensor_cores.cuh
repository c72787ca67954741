// The matrix products of convolutions on the tensor cores; a file for each precision instantiates them.
#pragma once
#include "cuda/conv_problems.cuh"
#include "cuda/conv_product.h"
#include "cuda/product.cuh"
#include "cuda/product_tensor_cores.cuh"

namespace fnn::cuda {

template <Compute compute, class Problem>
void multiply_by(const Problem& problem, const ProductSize& size, cudaStream_t stream) {
  using A = typename Problem::A;
  using B = typename Problem::B;
  using Wide = TensorTile<compute, 128, 128, 3, A, B>;
  using Narrow = TensorTile<compute, 128, 64, 3, A, B>;
  using Smallest = TensorTile<compute, 128, 64, 2, A, B>;
  static_assert(kBlockMemory<Problem, Smallest> <= kLeastSharedMemory);
  if constexpr (Problem::kWidth == 4) {
    if (size.columns > 64 && size.tiles(128, 128) >= kBusyTiles && fits<Problem, Wide>())
      return launch_product<Wide>(problem, size, stream);
  }
  if (fits<Problem, Narrow>()) return launch_product<Narrow>(problem, size, stream);
  launch_product<Smallest>(problem, size, stream);
}

}  // namespace fnn::cuda
