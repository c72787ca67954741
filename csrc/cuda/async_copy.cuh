// Copies from global to shared memory that run while the thread goes on (cp.async, from sm_80 on; before, the thread
// itself loads and stores): no registers hold what is under way. One by one they are put into groups, which are waited
// for in order.
//
// CUDA's __pipeline_memcpy_async turns a number of zeros that is known at run time alone into a switch of 17 cases;
// here it is an operand of the instruction.
#pragma once
#include "cuda/fnn_cuda.h"

namespace fnn::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define FNN_COPIES_IN_HARDWARE
#elif defined(__CUDACC__)
#define FNN_COPIES_BY_THREADS  // and the emulator has copies of its own, which are late on purpose
#endif

// At once: 4 or 16 bytes, as copy_async.
template <int kBytes>
__device__ inline void copy_now(float* to, const float* from, bool present) {
  if constexpr (kBytes == 16)
    *reinterpret_cast<float4*>(to) = present ? *reinterpret_cast<const float4*>(from) : float4{0, 0, 0, 0};
  else
    *to = present ? *from : 0;
}

// 4 or 16 bytes, both sides aligned to that; zeros unless `present`: else `from`, though aligned, may point anywhere.
template <int kBytes>
__device__ inline void copy_async(float* to, const float* from, bool present) {
  static_assert(kBytes == 4 || kBytes == 16);
#if defined(FNN_COPIES_BY_THREADS)
  copy_now<kBytes>(to, from, present);
#elif defined(FNN_COPIES_IN_HARDWARE)
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  if constexpr (kBytes == 16) {  // .cg: past the first-level cache
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(present ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(from), "r"(present ? 4 : 0)
                 : "memory");
  }
#else
  __pipeline_memcpy_async(to, from, kBytes, present ? 0 : kBytes);
#endif
}

// Ends a group of this thread's copies, which may be empty.
__device__ inline void end_copy_group() {
#if defined(FNN_COPIES_IN_HARDWARE)
  asm volatile("cp.async.commit_group;" ::: "memory");
#elif !defined(FNN_COPIES_BY_THREADS)
  __pipeline_commit();
#endif
}

// Until all groups of this thread but the `kNewest` last ones have arrived.
template <int kNewest>
__device__ inline void wait_for_copies() {
#if defined(FNN_COPIES_IN_HARDWARE)
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
#elif !defined(FNN_COPIES_BY_THREADS)
  __pipeline_wait_prior(kNewest);
#endif
}

}  // namespace fnn::cuda
