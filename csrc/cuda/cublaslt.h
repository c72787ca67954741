// Matrix products by cuBLASLt.
#pragma once
#include "cpu/gemm.h"
#include "cuda/compute.h"
#include "cuda/run.h"

namespace fnn::cuda {

// False if it was not done: no library, or none of its kernels can do it. column_sums, unless null, gets the sums of
// the columns of B, which must not be transposed: the gradient of a bias, beside that of weights.
bool multiply_by_cublaslt(const cpu::Gemm& gemm, Compute compute, float* column_sums, cudaStream_t stream);

}  // namespace fnn::cuda
