// Philox (math/random.h) for as many counters at once as fit a vector.
#pragma once
#include <cstdint>

#include "cpu/simd.h"
#include "math/random.h"

namespace fnn::cpu {

using NativeU64 = std::uint64_t __attribute__((vector_size(kVectorBytes)));
inline constexpr int kPhiloxBlocks = kVectorBytes / 8;           // Philox blocks computed at once
inline constexpr std::int64_t kPhiloxWords = 4 * kPhiloxBlocks;  // their words: two vectors of 32-bit ones

// As many Philox counters as fit a vector.
struct VecU64 {
  NativeU64 v;
  VecU64() = default;
  FNN_INLINE VecU64(NativeU64 native) : v(native) {}
  FNN_INLINE explicit VecU64(std::uint64_t x) : v(x + NativeU64{}) {}
};
FNN_INLINE VecU64 operator^(VecU64 a, VecU64 b) { return a.v ^ b.v; }
FNN_INLINE VecU64 operator>>(VecU64 a, int bits) { return a.v >> bits; }
FNN_INLINE VecU64 multiply_low(VecU64 a, std::uint32_t b) {
  // One instruction that the compiler does not find for itself: with the mask it takes a full 64-bit product. (The
  // maskz forms, here and below, because GCC 12 warns of an uninitialised value inside the plain ones.)
#if defined(__AVX512F__)
  return (NativeU64)_mm512_maskz_mul_epu32(0xff, (__m512i)a.v, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
  return (NativeU64)_mm256_mul_epu32((__m256i)a.v, _mm256_set1_epi64x(b));
#elif defined(__x86_64__)
  return (NativeU64)_mm_mul_epu32((__m128i)a.v, _mm_set1_epi64x(b));
#else
  return (a.v & 0xffffffffu) * b;
#endif
}

// The numbers of the blocks in the lanes: lane 2l holds block l and lane 2l + 1 block l + kPhiloxBlocks / 2, the order
// in which interleaving 64-bit lanes within 128-bit ones puts the words of consecutive blocks one behind the other.
FNN_INLINE VecU64 block_numbers(std::int64_t first) {
  NativeU64 number;
  for (int lane = 0; lane < kPhiloxBlocks; ++lane) {
    number[lane] = static_cast<std::uint64_t>(first + lane / 2 + (lane % 2) * (kPhiloxBlocks / 2));
  }
  return number;
}

// The words of kPhiloxBlocks consecutive blocks, one behind the other.
struct Words {
  NativeI32 low, high;
};
FNN_INLINE Words interleave(const PhiloxBlock<VecU64>& r) {
  const NativeU64 w01 = (r.word[0].v & 0xffffffffu) | (r.word[1].v << 32);
  const NativeU64 w23 = (r.word[2].v & 0xffffffffu) | (r.word[3].v << 32);
#if defined(__AVX512F__)
  return {(NativeI32)_mm512_maskz_unpacklo_epi64(0xff, (__m512i)w01, (__m512i)w23),
          (NativeI32)_mm512_maskz_unpackhi_epi64(0xff, (__m512i)w01, (__m512i)w23)};
#elif defined(__AVX2__)
  return {(NativeI32)_mm256_unpacklo_epi64((__m256i)w01, (__m256i)w23),
          (NativeI32)_mm256_unpackhi_epi64((__m256i)w01, (__m256i)w23)};
#else
  return {(NativeI32)NativeU64{w01[0], w23[0]}, (NativeI32)NativeU64{w01[1], w23[1]}};
#endif
}

}  // namespace fnn::cpu
