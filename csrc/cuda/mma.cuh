// Products of the tensor cores: operands of 10, 7 or 10 bits of mantissa, exact products, sums in float32.
//
// What a warp multiplies at a time is 16 rows of A and 8 columns of B by 8 words of each, a word being one number of
// tf32 or two neighbours along the sum in 16 bits: with words, the fragments of all formats look alike.
// PTX ISA, "Warp-level matrix multiply-accumulate instructions", mma.m16n8k8 and mma.m16n8k16.
#pragma once
#include <cstdint>

#include "cuda/fnn_cuda.h"
#include "math/rounding.h"

// GPUs before sm_80 have no such instructions for these formats; there, and in the emulator, lanes exchange numbers.
#if defined(__CUDACC__) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800)
#define FNN_TENSOR_CORES
#endif

namespace fnn::cuda {

// The fragments of a lane with g = lane / 4, t = lane % 4, as [row][word] and [column][word]:
//   a: [g][t], [g + 8][t], [g][t + 4], [g + 8][t + 4]    b: [g][t], [g][t + 4]
//   c, as [row][column]: [g][2t], [g][2t + 1], [g + 8][2t], [g + 8][2t + 1]
using FragmentA = std::uint32_t[4];
using FragmentB = std::uint32_t[2];
using FragmentC = float[4];

struct Tf32 {
  static constexpr int kPerWord = 1;
  static __device__ std::uint32_t word(const float* x) {
#ifdef FNN_TENSOR_CORES
    std::uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x[0]));
    return bits;
#else
    return static_cast<std::uint32_t>(as_int(float_to_tf32(x[0])));
#endif
  }
  static __device__ float number(std::uint32_t word, int /*which*/) {
    return as_float(static_cast<std::int32_t>(word));
  }
};

struct BFloat16 {
  static constexpr int kPerWord = 2;
  static __device__ std::uint32_t word(const float* x) {
#ifdef FNN_TENSOR_CORES
    std::uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(x[1]), "f"(x[0]));
    return bits;
#else
    return static_cast<std::uint32_t>(float_to_bfloat16(x[0]) & 0xffff) |
           static_cast<std::uint32_t>(float_to_bfloat16(x[1])) << 16;
#endif
  }
  static __device__ float number(std::uint32_t word, int which) {
    return bfloat16_to_float(static_cast<std::int32_t>(word >> 16 * which & 0xffff));
  }
};

struct Float16 {
  static constexpr int kPerWord = 2;
  static __device__ std::uint32_t word(const float* x) {
#ifdef FNN_TENSOR_CORES
    std::uint32_t bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(x[1]), "f"(x[0]));
    return bits;
#else
    return static_cast<std::uint32_t>(float_to_float16(x[0])) | static_cast<std::uint32_t>(float_to_float16(x[1]))
                                                                    << 16;
#endif
  }
  static __device__ float number(std::uint32_t word, int which) {
    return float16_to_float(static_cast<std::int32_t>(word >> 16 * which & 0xffff));
  }
};

#ifdef FNN_TENSOR_CORES

#define FNN_MMA(shape, operands)                                                      \
  asm volatile("mma.sync.aligned." shape ".row.col.f32." operands                     \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

// c += a b; by all lanes of a warp.
__device__ inline void multiply_add(Tf32, FragmentC& c, const FragmentA& a, const FragmentB& b) {
  FNN_MMA("m16n8k8", "tf32.tf32");
}
__device__ inline void multiply_add(BFloat16, FragmentC& c, const FragmentA& a, const FragmentB& b) {
  FNN_MMA("m16n8k16", "bf16.bf16");
}
__device__ inline void multiply_add(Float16, FragmentC& c, const FragmentA& a, const FragmentB& b) {
  FNN_MMA("m16n8k16", "f16.f16");
}

#undef FNN_MMA

#else

template <class Format>
__device__ void multiply_add(Format, FragmentC& c, const FragmentA& a, const FragmentB& b) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  for (int word = 0; word < 8; ++word) {
    // Lanes 4 row + word % 4 have the word of row and row + 8, in a[0], a[1] or, its second half, in a[2], a[3].
    std::uint32_t rows[2], columns[2];
    for (int i = 0; i < 2; ++i) {
      rows[i] = __shfl_sync(0xffffffffu, a[word / 4 * 2 + i], 4 * g + word % 4);
      columns[i] = __shfl_sync(0xffffffffu, b[word / 4], 4 * (2 * t + i) + word % 4);
    }
    for (int i = 0; i < 4; ++i)
      for (int k = 0; k < Format::kPerWord; ++k)
        c[i] += Format::number(rows[i / 2], k) * Format::number(columns[i % 2], k);
  }
}

#endif

}  // namespace fnn::cuda
