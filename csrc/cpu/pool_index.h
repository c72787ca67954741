// The positions that max pooling remembers: a vector of integers, stored in one or two bytes each.
//
// By intrinsics where the compiler's own conversion goes lane by lane (GCC 12 widens bytes so; max pooling's backward
// pass took five times as long). The maskz forms because GCC 12 warns of an uninitialised value inside the plain ones.
#pragma once
#include <cstdint>
#include <cstring>

#include "cpu/lanes.h"

namespace fnn::cpu {

// ---- whole vectors
#if defined(__AVX512F__)
FNN_INLINE VecInt load_index(const std::uint8_t* p, AllLanes) {
  return {(NativeI32)_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
FNN_INLINE VecInt load_index(const std::uint16_t* p, AllLanes) {
  return {(NativeI32)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
#elif defined(__AVX2__)
FNN_INLINE VecInt load_index(const std::uint8_t* p, AllLanes) {
  return {(NativeI32)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
FNN_INLINE VecInt load_index(const std::uint16_t* p, AllLanes) {
  return {(NativeI32)_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
#elif defined(__SSE4_1__)
FNN_INLINE VecInt load_index(const std::uint8_t* p, AllLanes) {
  std::int32_t packed;
  std::memcpy(&packed, p, sizeof packed);
  return {(NativeI32)_mm_cvtepu8_epi32(_mm_cvtsi32_si128(packed))};
}
FNN_INLINE VecInt load_index(const std::uint16_t* p, AllLanes) {
  return {(NativeI32)_mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
#else
template <class Index>
FNN_INLINE VecInt load_index(const Index* p, AllLanes) {
  NativeI32 v;
  for (int i = 0; i < kLanes; ++i) v[i] = p[i];
  return {v};
}
#endif

template <class Index>
struct Packed;
template <>
struct Packed<std::uint8_t> {
  typedef std::uint8_t type __attribute__((vector_size(kLanes)));
};
template <>
struct Packed<std::uint16_t> {
  typedef std::uint16_t type __attribute__((vector_size(2 * kLanes)));
};
template <class Index>
FNN_INLINE void store_index(Index* p, VecInt index, AllLanes) {
  const auto packed = __builtin_convertvector(index.v, typename Packed<Index>::type);
  std::memcpy(p, &packed, sizeof packed);
}

// ---- the first few lanes
#if defined(__AVX512BW__) && defined(__AVX512VL__)
FNN_INLINE VecInt load_index(const std::uint8_t* p, FirstLanes lanes) {
  return {(NativeI32)_mm512_maskz_cvtepu8_epi32(0xffff, _mm_maskz_loadu_epi8(first_lanes(lanes.count), p))};
}
FNN_INLINE VecInt load_index(const std::uint16_t* p, FirstLanes lanes) {
  return {(NativeI32)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_maskz_loadu_epi16(first_lanes(lanes.count), p))};
}
FNN_INLINE void store_index(std::uint8_t* p, VecInt index, FirstLanes lanes) {
  _mm512_mask_cvtepi32_storeu_epi8(p, first_lanes(lanes.count), (__m512i)index.v);
}
FNN_INLINE void store_index(std::uint16_t* p, VecInt index, FirstLanes lanes) {
  _mm512_mask_cvtepi32_storeu_epi16(p, first_lanes(lanes.count), (__m512i)index.v);
}
#else
// One by one: a copy of unknown length is a call of memcpy, which costs more.
template <class Index>
FNN_INLINE VecInt load_index(const Index* p, FirstLanes lanes) {
  NativeI32 v = {};
  for (int i = 0; i < kLanes; ++i)
    if (i < lanes.count) v[i] = p[i];
  return {v};
}
template <class Index>
FNN_INLINE void store_index(Index* p, VecInt index, FirstLanes lanes) {
  Index packed[kLanes];
  store_index(packed, index, AllLanes{});
  for (std::int64_t i = 0; i < lanes.count; ++i) p[i] = packed[i];
}
#endif

}  // namespace fnn::cpu
