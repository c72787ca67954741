#include "cuda/conv_tensor_cores.cuh"

namespace fnn::cuda {

FNN_CONV_PRODUCTS(Compute::tf32);

}  // namespace fnn::cuda
