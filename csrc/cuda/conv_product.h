// Runs the matrix products of a convolution, with float32 or on the tensor cores.
#pragma once
#include "cuda/compute.h"
#include "cuda/product_size.h"
#include "cuda/run.h"

namespace fnn::cuda {

// One for each precision, in files of their own, so that they are compiled side by side.
template <Compute compute, class Problem>
void multiply_by(const Problem& problem, const ProductSize& size, cudaStream_t stream);

// At the precision that has been set.
template <class Problem>
void multiply(const Problem& problem, const ProductSize& size, cudaStream_t stream) {
  switch (compute()) {
    case Compute::float32:
      return multiply_by<Compute::float32>(problem, size, stream);
    case Compute::tf32:
      return multiply_by<Compute::tf32>(problem, size, stream);
    case Compute::bfloat16:
      return multiply_by<Compute::bfloat16>(problem, size, stream);
    case Compute::float16:
      return multiply_by<Compute::float16>(problem, size, stream);
  }
}

}  // namespace fnn::cuda

// To instantiate multiply_by at the end of such a file.
#define FNN_CONV_PRODUCTS(compute)                                                                    \
  template void multiply_by<compute>(const ConvForwardProblem<4>&, const ProductSize&, cudaStream_t); \
  template void multiply_by<compute>(const ConvForwardProblem<1>&, const ProductSize&, cudaStream_t); \
  template void multiply_by<compute>(const ConvInputProblem<4>&, const ProductSize&, cudaStream_t);   \
  template void multiply_by<compute>(const ConvInputProblem<1>&, const ProductSize&, cudaStream_t);   \
  template void multiply_by<compute>(const ConvWeightProblem<4>&, const ProductSize&, cudaStream_t);  \
  template void multiply_by<compute>(const ConvWeightProblem<1>&, const ProductSize&, cudaStream_t)
