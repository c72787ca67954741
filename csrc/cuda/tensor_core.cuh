// The instruction of tensor cores: D = A B + C of a warp, with C and D of float32.
//
// Registers of a lane, with g = lane / 4 and t = lane % 4. A product is 16 x 8, and its depth is two halves of 4
// registers each, of 2 neighbouring elements (bfloat16, float16) or 1 (tf32):
//   A   rows g and g + 8, in both halves the t-th register:   {g, first}, {g + 8, first}, {g, second}, {g + 8, second}
//   B   column g                                               {first}, {second}
//   C   rows g and g + 8, columns 2t and 2t + 1                {g, 2t}, {g, 2t + 1}, {g + 8, 2t}, {g + 8, 2t + 1}
// (PTX ISA, "Matrix Fragments for mma.m16n8k16", "... m16n8k8"). Which depth is called which doesn't matter as long as
// A and B agree.
//
// GPUs of sm_75 have it for float16 only, at half the depth: there float16 is two instructions, and at the other
// formats lanes multiply, without tensor cores.
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

#ifdef __CUDA_ARCH__
inline constexpr int kArchitecture = __CUDA_ARCH__;
#else
inline constexpr int kArchitecture = 0;  // the emulator, or the host's part of a file
#endif

// How an operand is rounded (to nearest), packed into registers, and multiplied, where kInHardware.
template <Compute compute>
struct TensorCore;

template <>
struct TensorCore<Compute::tf32> {
  static constexpr int kPerRegister = 1;
  static constexpr bool kInHardware = kArchitecture >= 800;

  // To nearest, ties away from 0. The low bits of a register count for nothing.
  static __device__ std::uint32_t pack(const float* x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
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
  static constexpr bool kInHardware = kArchitecture >= 800;

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
  static constexpr bool kInHardware = kArchitecture >= 750;

  static __device__ std::uint32_t pack(const float* x) { return bits_as<std::uint32_t>(__floats2half2_rn(x[0], x[1])); }
  static __device__ float unpack(std::uint32_t packed, int i) {
    const __half2 pair = bits_as<__half2>(packed);
    return i == 0 ? __low2float(pair) : __high2float(pair);
  }
#ifdef __CUDACC__
  static __device__ void multiply(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    if constexpr (kArchitecture >= 800) {
      asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
      for (int half = 0; half < 2; ++half)
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
    }
  }
#endif
};

// What a lane shows the others where there are no tensor cores.
struct ShownRegisters {
  std::uint32_t a[4], b[2];
};
inline constexpr int kMostShown = 8 * 32;  // lanes: blocks have no more than 8 warps

// The same without tensor cores: the lanes show one another their registers. A sum is taken in order of depth, and
// rounded after each product, which the hardware doesn't promise.
template <Compute compute>
__device__ inline void multiply_by_lanes(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  using Core = TensorCore<compute>;
  FNN_SHARED(ShownRegisters, shown, [kMostShown]);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  ShownRegisters* const of_warp = shown + (threadIdx.x - lane);
  for (int i = 0; i < 4; ++i) of_warp[lane].a[i] = a[i];
  for (int i = 0; i < 2; ++i) of_warp[lane].b[i] = b[i];
  __syncwarp();
  const int g = lane / 4, t = lane % 4;
  // Not unrolled: registers are what the sums need.
#pragma unroll 1
  for (int half = 0; half < 2; ++half)
#pragma unroll 1
    for (int other = 0; other < 4; ++other)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int k = 0; k < Core::kPerRegister; ++k)
          c[i] += Core::unpack(of_warp[4 * g + other].a[2 * half + i / 2], k) *
                  Core::unpack(of_warp[4 * (2 * t + i % 2) + other].b[half], k);
  __syncwarp();
}

template <Compute compute>
__device__ inline void multiply_fragments(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#ifdef __CUDACC__
  if constexpr (TensorCore<compute>::kInHardware) {
    TensorCore<compute>::multiply(c, a, b);
    return;
  }
#endif
  multiply_by_lanes<compute>(c, a, b);
}

}  // namespace fnn::cuda
