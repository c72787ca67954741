// Integers of 8 and 16 bits in memory as vectors of 32-bit ones, the 16-bit floats among them, and tables of 8 entries.
#pragma once
#include <cstdint>
#include <type_traits>

#include "cpu/lanes.h"
#include "math/dynamic8.h"
#include "math/rounding.h"

namespace fnn::cpu {

template <class Narrow>
struct NarrowVec {
  typedef Narrow Native __attribute__((vector_size(kLanes * sizeof(Narrow))));  // `using` takes no dependent type
  struct __attribute__((packed, may_alias)) Unaligned {
    Native v;
  };
};
template <class Narrow>
FNN_INLINE typename NarrowVec<Narrow>::Native load_native(const Narrow* p) {
  return reinterpret_cast<const typename NarrowVec<Narrow>::Unaligned*>(p)->v;
}
template <class Narrow>
FNN_INLINE void store_native(Narrow* p, typename NarrowVec<Narrow>::Native x) {
  reinterpret_cast<typename NarrowVec<Narrow>::Unaligned*>(p)->v = x;
}

// kLanes integers, zero- or sign-extended as their type says; of a vector the low bits are stored. By intrinsics where
// GCC 12 would take lane by lane.
template <class Narrow>
FNN_INLINE VecInt load_narrow(const Narrow* p) {
#if defined(__AVX512F__)
  constexpr __mmask16 kAll = 0xffff;
  if constexpr (sizeof(Narrow) == 1) return {(NativeI32)_mm512_maskz_cvtepu8_epi32(kAll, (__m128i)load_native(p))};
  if constexpr (std::is_signed_v<Narrow>)
    return {(NativeI32)_mm512_maskz_cvtepi16_epi32(kAll, (__m256i)load_native(p))};
  else if constexpr (sizeof(Narrow) == 2)
    return {(NativeI32)_mm512_maskz_cvtepu16_epi32(kAll, (__m256i)load_native(p))};
#elif defined(__AVX2__)
  const __m128i narrow = sizeof(Narrow) == 1 ? _mm_loadu_si64(p) : _mm_loadu_si128((const __m128i*)p);
  if constexpr (sizeof(Narrow) == 1) return {(NativeI32)_mm256_cvtepu8_epi32(narrow)};
  return {(NativeI32)(std::is_signed_v<Narrow> ? _mm256_cvtepi16_epi32(narrow) : _mm256_cvtepu16_epi32(narrow))};
#elif defined(__SSE4_1__)
  const __m128i narrow = sizeof(Narrow) == 1 ? _mm_loadu_si32(p) : _mm_loadu_si64(p);
  if constexpr (sizeof(Narrow) == 1) return {(NativeI32)_mm_cvtepu8_epi32(narrow)};
  return {(NativeI32)(std::is_signed_v<Narrow> ? _mm_cvtepi16_epi32(narrow) : _mm_cvtepu16_epi32(narrow))};
#else
  return {__builtin_convertvector(load_native(p), NativeI32)};
#endif
}
template <class Narrow>
FNN_INLINE void store_narrow(Narrow* p, VecInt x) {
#if defined(__AVX512F__)
  // Through a register: to memory the instruction takes 8 cycles on Zen 4 and not 2.5.
  if constexpr (sizeof(Narrow) == 1) {
    __m128i codes = _mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)x.v);
    asm("" : "+x"(codes));
    return store_native(p, (typename NarrowVec<Narrow>::Native)codes);
  }
#elif defined(__SSE4_1__)  // the low parts to the front, in AVX2 of each half
  constexpr bool kBytes = sizeof(Narrow) == 1;
  const __m128i low_first = kBytes ? _mm_set1_epi32(0x0c080400) : _mm_set1_epi64x(0x0d0c090805040100);
#if defined(__AVX2__)
  const __m256i parts = _mm256_shuffle_epi8((__m256i)x.v, _mm256_broadcastsi128_si256(low_first));
  const __m128i first = _mm256_castsi256_si128(parts), second = _mm256_extracti128_si256(parts, 1);
  if constexpr (kBytes) return _mm_storeu_si64(p, _mm_unpacklo_epi32(first, second));
  return _mm_storeu_si128((__m128i*)p, _mm_unpacklo_epi64(first, second));
#else
  const __m128i parts = _mm_shuffle_epi8((__m128i)x.v, low_first);
  return kBytes ? _mm_storeu_si32(p, parts) : _mm_storeu_si64(p, parts);
#endif
#endif
  store_native(p, __builtin_convertvector(x.v, typename NarrowVec<Narrow>::Native));
}

// The first few lanes: by way of a whole vector, as there is one of these for each array.
template <class Narrow>
struct PartialNarrow {
  Narrow lanes[kLanes] = {};
  PartialNarrow() = default;
  PartialNarrow(const Narrow* from, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  }
  void copy(Narrow* to, std::int64_t count) const {
    for (std::int64_t i = 0; i < count; ++i) to[i] = lanes[i];
  }
};

struct BFloat16 {
  static FNN_INLINE Vec load(const std::uint16_t* p) { return bfloat16_to_float(load_narrow(p)); }
  static FNN_INLINE void store(std::uint16_t* p, Vec x) { store_narrow(p, float_to_bfloat16(x)); }
  static FNN_INLINE void store(std::uint16_t* p, Vec x, VecInt random) {
    store_narrow(p, float_to_bfloat16(x, random));
  }
};

struct Float16 {
  static FNN_INLINE Vec load(const std::uint16_t* p) {
#if defined(__AVX512F__)
    return (NativeF32)_mm512_maskz_cvtph_ps(0xffff, (__m256i)load_native(p));
#elif defined(__AVX2__) && defined(__F16C__)
    return (NativeF32)_mm256_cvtph_ps((__m128i)load_native(p));
#else
    return float16_to_float(load_narrow(p));
#endif
  }
  static FNN_INLINE void store(std::uint16_t* p, Vec x) {
#if defined(__AVX512F__)
    using Native = NarrowVec<std::uint16_t>::Native;
    store_native(p, (Native)_mm512_maskz_cvtps_ph(0xffff, (__m512)x.v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__) && defined(__F16C__)
    using Native = NarrowVec<std::uint16_t>::Native;
    store_native(p, (Native)_mm256_cvtps_ph((__m256)x.v, _MM_FROUND_TO_NEAREST_INT));
#else
    store_narrow(p, float_to_float16(x));
#endif
  }
  static FNN_INLINE void store(std::uint16_t* p, Vec x, VecInt random) { store_narrow(p, float_to_float16(x, random)); }
};

// Eight numbers looked up by the low three bits of each lane: one permutation with AVX2 and AVX-512.
class VecTable8 {
 public:
  FNN_INLINE explicit VecTable8(const Table8& table) : entries_(*reinterpret_cast<const Native*>(table.entry)) {}
  FNN_INLINE friend VecTable8 operator*(VecTable8 table, float scale) {
    table.entries_ *= scale;
    return table;
  }
  FNN_INLINE friend Vec lookup(const VecTable8& table, VecInt index) {
#if defined(__clang__)
    NativeF32 found;
    for (int i = 0; i < kLanes; ++i) found[i] = table.entries_[index.v[i] & 7];
    return found;
#elif defined(__AVX2__)
    return __builtin_shuffle(table.entries_, index.v);
#else
    union {
      Native both;
      NativeF32 half[2];
    } parts = {table.entries_};
    return __builtin_shuffle(parts.half[0], parts.half[1], index.v);
#endif
  }

 private:
  static constexpr int kEntries = kLanes < 8 ? 8 : kLanes;
  using Native = float __attribute__((vector_size(kEntries * 4), may_alias));
  Native entries_;
};

}  // namespace fnn::cpu
