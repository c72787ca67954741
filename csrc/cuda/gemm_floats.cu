// Matrix products in float32 without tensor cores.
#include "cuda/gemm_problem.cuh"
#include "cuda/product_ffma.cuh"

namespace fnn::cuda {

// The larger a tile, the more of its blocks there are on a multiprocessor, and the fewer stages hide the way to memory.
void launch_floats(const GemmTask& task, TileSize tile, cudaStream_t stream) {
  with_problem(task, [&](const auto& problem, const ProductSize& size) {
    using Problem = std::decay_t<decltype(problem)>;
    using A = typename Problem::A;
    using B = typename Problem::B;
    using Large = FfmaTile<128, 128, 2, A, B>;
    static_assert(kBlockMemory<Problem, Large> <= kLeastSharedMemory);
    if constexpr (Problem::kWidth == 4) {
      if (tile == TileSize::large) return launch_product<Large>(problem, size, stream);
    }
    if (tile != TileSize::small) return launch_product<FfmaTile<64, 64, 3, A, B>>(problem, size, stream);
    launch_product<FfmaTile<32, 32, 4, A, B>>(problem, size, stream);
  });
}

}  // namespace fnn::cuda
