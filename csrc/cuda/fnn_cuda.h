// The one CUDA include of every .cu and .cuh file. With nvcc it is CUDA; with g++ it is the emulator of tests/emulator,
// found by the include path, which runs the same kernels on the CPU.
//
// What a kernel file must keep to, so that both can compile it:
//   fnn::launch(kernel, grid, block, shared_bytes, stream, arguments...)   instead of kernel<<<...>>>(arguments...)
//   FNN_SHARED(float, tile, [32][33]);       instead of __shared__ float tile[32][33];
//   FNN_DYN_SHARED(float, rows);             instead of extern __shared__ float rows[];
//   inline PTX and intrinsics that the emulator lacks stand behind #ifdef __CUDACC__, with plain C++ beside them;
//   kernels have internal linkage (an unnamed namespace).
#pragma once

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>

#define FNN_SHARED(T, name, ...) __shared__ T name __VA_ARGS__
// One symbol for all types: `extern __shared__ T name[]` with two types would clash.
#define FNN_DYN_SHARED(T, name)                                        \
  extern __shared__ __align__(16) unsigned char fnn_dynamic_shared_[]; \
  T* const name = reinterpret_cast<T*>(fnn_dynamic_shared_)

namespace fnn {

// A plain function, because g++ can't parse <<<>>>; the arguments are converted to the kernel's parameter types.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                   Arguments&&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(static_cast<Arguments&&>(arguments))...);
}

}  // namespace fnn

#else

#include <cuda_on_cpu.h>

#endif
