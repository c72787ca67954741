// The instruction of tensor cores: D = A B + C of a warp, with C and D of float32.
//
// Registers of a lane, with g = lane / 4 and t = lane % 4. A product is 16 x 8, and its depth is two halves of 4
// registers each, of 2 neighbouring elements (bfloat16, float16) or 1 (tf32):
//   A   rows g and g + 8, in both halves the t-th register:   {g, first}, {g + 8, first}, {g, second}, {g + 8, second}
//   B   column g                                               {first}, {second}
//   C   rows g and g + 8, columns 2t and 2t + 1                {g, 2t}, {g, 2t + 1}, {g + 8, 2t}, {g + 8, 2t + 1}
// (PTX ISA, "Matrix Fragments for mma.m16n8k16", "... m16n8k8"). Which depth is called which doesn't matter as long as
// A and B agree.
#pragma once
#include <cstdint>
#include <cstring>

#include "cuda/compute.h"
#include "cuda/fnn_cuda.h"

namespace fnn::cuda {

template <class To, class From>
__device__ inline To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(static_cast<void*>(&to), &from, sizeof to);
  return to;
}

// How an operand is rounded (to nearest), packed into registers, and multiplied.
template <Compute compute>
struct TensorCore;

template <>
struct TensorCore<Compute::tf32> {
  static constexpr int kPerRegister = 1;

  // To nearest, ties away from 0. The low bits of a register count for nothing.
  static __device__ std::uint32_t pack(const float* x) {
#ifdef __CUDACC__
    std::uint32_t rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x[0]));
    return rounded;
#else
    const std::uint32_t bits = bits_as<std::uint32_t>(x[0]);
    return x[0] == x[0] ? (bits + 0x1000u) & ~0x1fffu : bits;
#endif
  }
  static __device__ float unpack(std::uint32_t packed, int) { return bits_as<float>(packed); }
#ifdef __CUDACC__
  static __device__ void multiply(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#endif
};

template <>
struct TensorCore<Compute::bfloat16> {
  static constexpr int kPerRegister = 2;

  static __device__ std::uint32_t pack(const float* x) {
    return bits_as<std::uint32_t>(__floats2bfloat162_rn(x[0], x[1]));
  }
  static __device__ float unpack(std::uint32_t packed, int i) {
    return bits_as<float>(i == 0 ? packed << 16 : packed & 0xffff0000u);
  }
#ifdef __CUDACC__
  static __device__ void multiply(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#endif
};

template <>
struct TensorCore<Compute::float16> {
  static constexpr int kPerRegister = 2;

  static __device__ std::uint32_t pack(const float* x) { return bits_as<std::uint32_t>(__floats2half2_rn(x[0], x[1])); }
  static __device__ float unpack(std::uint32_t packed, int i) {
    const __half2 pair = bits_as<__half2>(packed);
    return i == 0 ? __low2float(pair) : __high2float(pair);
  }
#ifdef __CUDACC__
  static __device__ void multiply(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#endif
};

#ifdef __CUDACC__

template <Compute compute>
__device__ inline void multiply_fragments(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  TensorCore<compute>::multiply(c, a, b);
}

#else

// The same on the CPU: the lanes show one another their registers. A sum is taken in order of depth, and rounded after
// each product, which the hardware doesn't promise.
template <Compute compute>
__device__ inline void multiply_fragments(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  using Core = TensorCore<compute>;
  struct Registers {
    std::uint32_t a[4], b[2];
  };
  FNN_SHARED(Registers, shown, [8][32]);  // of the lanes of each warp; blocks have no more than 8
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = 0; i < 4; ++i) shown[warp][lane].a[i] = a[i];
  for (int i = 0; i < 2; ++i) shown[warp][lane].b[i] = b[i];
  __syncwarp();
  const int g = lane / 4, t = lane % 4;
  for (int i = 0; i < 4; ++i)
    for (int half = 0; half < 2; ++half)
      for (int other = 0; other < 4; ++other)
        for (int k = 0; k < Core::kPerRegister; ++k)
          c[i] += Core::unpack(shown[warp][4 * g + other].a[2 * half + i / 2], k) *
                  Core::unpack(shown[warp][4 * (2 * t + i % 2) + other].b[half], k);
  __syncwarp();
}

#endif

}  // namespace fnn::cuda
