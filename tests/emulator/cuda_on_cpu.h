// CUDA on the CPU, for tests: kernel source compiled by g++ runs with one fiber per CUDA thread, in one OS thread.
//
// Fibers are switched at barriers and warp collectives; who runs next is chosen from the environment variable
// CUEMU_SEED (scheduler.h). Shared memory holds 0xFF before every block. What is found: divergent barriers and
// deadlocks always; accesses out of bounds with -fsanitize=address -DCUEMU_ASAN; races on shared and global memory and
// missing barriers with -fsanitize=thread -DCUEMU_RACE when compiling the kernels (race.h). The runtime functions
// (cudaMallocAsync, cudaMemcpyAsync ...) are those of runtime_*.cpp, declared by CUDA's own headers.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

// The keywords of the language, which g++ reads as nothing.
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __grid_constant__
#undef __forceinline__
#undef __noinline__  // left out: libstdc++ writes it in its own attributes
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

// CUDA's own half and bfloat16 work on the host as they are.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "async_copy.h"
#include "atomics.h"
#include "barriers.h"
#include "collectives.h"
#include "device_math.h"
#include "launch.h"
#include "shared_memory.h"
