// Matrix products on tensor cores.
#include "cuda/gemm_problem.cuh"
#include "cuda/product_tensor_cores.cuh"

namespace fnn::cuda {
namespace {

template <Compute compute>
void launch(const GemmTask& task, TileSize tile, cudaStream_t stream) {
  with_problem(task, [&](const auto& problem, const ProductSize& size) {
    using Problem = std::decay_t<decltype(problem)>;
    using Large = TensorTile<compute, 128, 128, 2, typename Problem::A, typename Problem::B>;
    using Medium = TensorTile<compute, 64, 64, 3, typename Problem::A, typename Problem::B>;
    static_assert(kBlockMemory<Problem, Medium> <= kLeastSharedMemory);
    if constexpr (Problem::kWidth == 4) {
      if (tile == TileSize::large && fits<Problem, Large>()) return launch_product<Large>(problem, size, stream);
    }
    launch_product<Medium>(problem, size, stream);
  });
}

}  // namespace

void launch_tensor_cores(const GemmTask& task, Compute compute, TileSize tile, cudaStream_t stream) {
  if (compute == Compute::bfloat16) return launch<Compute::bfloat16>(task, tile, stream);
  if (compute == Compute::float16) return launch<Compute::float16>(task, tile, stream);
  launch<Compute::tf32>(task, tile, stream);
}

}  // namespace fnn::cuda
