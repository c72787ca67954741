#include "cuda/conv_tensor_cores.cuh"

namespace fnn::cuda {

FNN_CONV_PRODUCTS(Compute::float16);

}  // namespace fnn::cuda
