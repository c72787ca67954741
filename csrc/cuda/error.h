// Errors of CUDA as exceptions, which become a RuntimeError in Python.
#pragma once
#include <string>

#include "base/error.h"
#include "cuda/fnn_cuda.h"

namespace fnn::cuda {

inline void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw Error(std::string("CUDA: ") + call + " failed: " + cudaGetErrorString(status));
}

}  // namespace fnn::cuda

// A call of CUDA's, or a launch, that must succeed; the message names it.
#define FNN_CUDA_CHECK(...) ::fnn::cuda::check((__VA_ARGS__), #__VA_ARGS__)
