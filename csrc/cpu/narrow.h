// Integers of 8 and 16 bits in memory, as vectors of 32-bit ones, and the 16-bit floats among them as vectors of
// floats.
#pragma once
#include <cstdint>

#include "cpu/simd.h"
#include "math/rounding.h"

namespace fnn::cpu {

template <class Narrow>
struct NarrowVec {
  typedef Narrow Native __attribute__((vector_size(kLanes * sizeof(Narrow))));  // `using` takes no dependent type
  struct __attribute__((packed, may_alias)) Unaligned {
    Native v;
  };
};

// kLanes integers, zero- or sign-extended as their type says; of a vector the low bits are stored.
template <class Narrow>
FNN_INLINE VecInt load_narrow(const Narrow* p) {
  return {__builtin_convertvector(reinterpret_cast<const typename NarrowVec<Narrow>::Unaligned*>(p)->v, NativeI32)};
}
template <class Narrow>
FNN_INLINE void store_narrow(Narrow* p, VecInt x) {
  using Native = typename NarrowVec<Narrow>::Native;
  reinterpret_cast<typename NarrowVec<Narrow>::Unaligned*>(p)->v = __builtin_convertvector(x.v, Native);
}

// A 16-bit float: its conversions for a vector in memory and for one number.
struct BFloat16 {
  static FNN_INLINE Vec load(const std::uint16_t* p) { return bfloat16_to_float(load_narrow(p)); }
  static FNN_INLINE void store(std::uint16_t* p, Vec x) { store_narrow(p, float_to_bfloat16(x)); }
  static float load_one(std::uint16_t bits) { return bfloat16_to_float(std::int32_t{bits}); }
  static std::uint16_t store_one(float x) { return static_cast<std::uint16_t>(float_to_bfloat16(x)); }
};

struct Float16 {
#if defined(__AVX512F__)
  static FNN_INLINE Vec load(const std::uint16_t* p) {
    const auto half = reinterpret_cast<const NarrowVec<std::uint16_t>::Unaligned*>(p)->v;
    return (NativeF32)_mm512_maskz_cvtph_ps(0xffff, (__m256i)half);
  }
  static FNN_INLINE void store(std::uint16_t* p, Vec x) {
    const __m256i half = _mm512_maskz_cvtps_ph(0xffff, (__m512)x.v, _MM_FROUND_TO_NEAREST_INT);
    reinterpret_cast<NarrowVec<std::uint16_t>::Unaligned*>(p)->v = (NarrowVec<std::uint16_t>::Native)half;
  }
#elif defined(__F16C__) && defined(__AVX2__)
  static FNN_INLINE Vec load(const std::uint16_t* p) {
    return (NativeF32)_mm256_cvtph_ps((__m128i) reinterpret_cast<const NarrowVec<std::uint16_t>::Unaligned*>(p)->v);
  }
  static FNN_INLINE void store(std::uint16_t* p, Vec x) {
    const __m128i half = _mm256_cvtps_ph((__m256)x.v, _MM_FROUND_TO_NEAREST_INT);
    reinterpret_cast<NarrowVec<std::uint16_t>::Unaligned*>(p)->v = (NarrowVec<std::uint16_t>::Native)half;
  }
#else
  static FNN_INLINE Vec load(const std::uint16_t* p) { return float16_to_float(load_narrow(p)); }
  static FNN_INLINE void store(std::uint16_t* p, Vec x) { store_narrow(p, float_to_float16(x)); }
#endif
  static float load_one(std::uint16_t bits) { return float16_to_float(std::int32_t{bits}); }
  static std::uint16_t store_one(float x) { return static_cast<std::uint16_t>(float_to_float16(x)); }
};

}  // namespace fnn::cpu
