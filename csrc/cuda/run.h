// How a kernel is run on a GPU: each .cu file defines the specialisation for the kernels whose record it takes,
//   template <> void run(const cpu::MaxPoolForward& kernel, cudaStream_t stream) { ... }
// One that is missing is an undefined symbol when the extension is linked. No CUDA header is needed to call it.
#pragma once

typedef struct CUstream_st* cudaStream_t;  // as CUDA's headers say

namespace fnn::cuda {

// Enqueues the kernel; returns before it has run. Everything that the record points to lies on the GPU, unless its .cu
// file says otherwise.
template <class K>
void run(const K& kernel, cudaStream_t stream);

}  // namespace fnn::cuda
