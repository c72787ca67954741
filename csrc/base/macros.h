// Compiler vocabulary shared by host and device code.
#pragma once

#ifdef __CUDACC__
#define FNN_HD __host__ __device__
#else
#define FNN_HD
#endif

#define FNN_INLINE inline __attribute__((always_inline))
#define FNN_RESTRICT __restrict__
