// What the kernels of matrix products are told, and their launches.
#pragma once
#include "cuda/gemm.h"
#include "cuda/product_output.cuh"

namespace fnn::cuda {

// A product whose sums are cut into parts of `depth`, the last one being shorter. Each part has a C of its own, one
// behind the other from c on.
struct GemmTask {
  cpu::Gemm gemm;
  int parts;
  std::int64_t depth;

  ActivatedOutput output() const {
    const cpu::Epilogue& e = gemm.epilogue;
    return {gemm.c, e.z, e.bias, gemm.ldc, e.activation, e.alpha, gemm.accumulate};
  }
  // Whether the rows of C, and of what else is laid out as C, are fours of floats that lie aligned.
  bool output_in_fours() const;
};

// gemm_few_rows.cu (at most this many, B not transposed), gemm_floats.cu and gemm_tensor_cores.cu.
inline constexpr int kMostFewRows = 8;
void launch_few_rows(const GemmTask& task, cudaStream_t stream);
void launch_floats(const GemmTask& task, TileSize tile, cudaStream_t stream);
void launch_tensor_cores(const GemmTask& task, Compute compute, TileSize tile, cudaStream_t stream);

}  // namespace fnn::cuda
