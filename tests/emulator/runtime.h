// What the stand-ins of the CUDA runtime share. They are called as CUDA's headers declare them, and do everything at
// once: a stream is always empty.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

namespace cuemu {

// Keeps an error for cudaGetLastError and returns it.
cudaError_t remember(cudaError_t error);
// Bytes of dynamic shared memory that a launch of the kernel may ask for.
std::size_t dynamic_shared_allowed(const void* kernel);
// Bytes of cudaMalloc's memory that is in use.
std::size_t device_bytes();

}  // namespace cuemu
