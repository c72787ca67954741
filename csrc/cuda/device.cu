#include "cuda/device.h"
#include "cuda/error.h"

namespace fnn::cuda {

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // clears it
  return 0;
}

int driver_version() {
  int version = 0;
  if (cudaDriverGetVersion(&version) == cudaSuccess) return version;
  cudaGetLastError();
  return 0;
}

int runtime_version() {
  int version = 0;
  FNN_CUDA_CHECK(cudaRuntimeGetVersion(&version));
  return version;
}

int shared_memory_limit() {
  int device = 0, bytes = 0;
  FNN_CUDA_CHECK(cudaGetDevice(&device));
  FNN_CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes;
}

}  // namespace fnn::cuda
