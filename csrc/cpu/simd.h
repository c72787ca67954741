// One vector of floats as wide as the instruction set allows, by compiler vectors (no intrinsics but for square root
// and quotient).
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/macros.h"
#include "math/numeric.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fnn::cpu {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif
inline constexpr int kLanes = kVectorBytes / 4;

using NativeF32 = float __attribute__((vector_size(kVectorBytes)));
using NativeI32 = std::int32_t __attribute__((vector_size(kVectorBytes)));
using NativeU32 = std::uint32_t __attribute__((vector_size(kVectorBytes)));

// kLanes 32-bit integers: what the bit tricks of math/numeric.h need, and the mask of a comparison (-1 or 0).
struct VecInt {
  NativeI32 v;
};
FNN_INLINE VecInt operator+(VecInt a, std::int32_t b) { return {a.v + b}; }
FNN_INLINE VecInt operator-(VecInt a, std::int32_t b) { return {a.v - b}; }
FNN_INLINE VecInt operator+(VecInt a, VecInt b) { return {a.v + b.v}; }
FNN_INLINE VecInt operator-(VecInt a, VecInt b) { return {a.v - b.v}; }
FNN_INLINE VecInt operator<<(VecInt a, int bits) { return {a.v << bits}; }
FNN_INLINE VecInt operator>>(VecInt a, int bits) { return {a.v >> bits}; }
FNN_INLINE VecInt operator&(VecInt a, std::int32_t b) { return {a.v & b}; }
FNN_INLINE VecInt operator&(VecInt a, VecInt b) { return {a.v & b.v}; }
FNN_INLINE VecInt operator|(VecInt a, VecInt b) { return {a.v | b.v}; }
FNN_INLINE VecInt operator==(VecInt a, std::int32_t b) { return {a.v == b}; }

// kLanes floats. A struct, so that argument-dependent lookup finds its overloads from templates in math/.
struct Vec {
  NativeF32 v;
  Vec() = default;
  FNN_INLINE Vec(NativeF32 native) : v(native) {}
  FNN_INLINE explicit Vec(float x) : v(x - NativeF32{}) {}  // x - 0: broadcasts, and keeps -0
};
FNN_INLINE Vec operator+(Vec a, Vec b) { return a.v + b.v; }
FNN_INLINE Vec operator-(Vec a, Vec b) { return a.v - b.v; }
FNN_INLINE Vec operator*(Vec a, Vec b) { return a.v * b.v; }
FNN_INLINE Vec operator/(Vec a, Vec b) { return a.v / b.v; }
FNN_INLINE Vec operator-(Vec a) { return -a.v; }
FNN_INLINE Vec& operator+=(Vec& a, Vec b) { return a = a + b; }
FNN_INLINE VecInt operator<(Vec a, Vec b) { return {a.v < b.v}; }
FNN_INLINE VecInt operator>(Vec a, Vec b) { return {a.v > b.v}; }
FNN_INLINE VecInt operator<=(Vec a, Vec b) { return {a.v <= b.v}; }
FNN_INLINE VecInt operator>=(Vec a, Vec b) { return {a.v >= b.v}; }
FNN_INLINE VecInt operator==(Vec a, Vec b) { return {a.v == b.v}; }

// ---- the primitives of math/numeric.h
FNN_INLINE Vec select(VecInt mask, Vec a, Vec b) { return mask.v ? a.v : b.v; }
FNN_INLINE VecInt select(VecInt mask, VecInt a, VecInt b) { return {mask.v ? a.v : b.v}; }
FNN_INLINE VecInt as_int(Vec x) { return {(NativeI32)x.v}; }
FNN_INLINE Vec as_float(VecInt bits) { return (NativeF32)bits.v; }
FNN_INLINE Vec to_float(VecInt n) { return __builtin_convertvector(n.v, NativeF32); }
FNN_INLINE VecInt truncated(Vec x) { return {__builtin_convertvector(x.v, NativeI32)}; }
FNN_INLINE Vec abs(Vec x) { return (NativeF32)((NativeI32)x.v & 0x7fffffff); }
FNN_INLINE VecInt abs(VecInt n) {
#if defined(__AVX512F__)
  return {(NativeI32)_mm512_maskz_abs_epi32(0xffff, (__m512i)n.v)};
#else
  return {n.v < 0 ? -n.v : n.v};
#endif
}
FNN_INLINE Vec positive_part(Vec x) {  // as integers: on Zen 4 a maximum of floats takes a place from products
  const NativeI32 bits = (NativeI32)x.v;
  return (NativeF32)(bits > 0 ? bits : NativeI32{});
}
FNN_INLINE VecInt larger_unsigned(VecInt a, VecInt b) {
  const NativeU32 x = (NativeU32)a.v, y = (NativeU32)b.v;
  return {(NativeI32)(x > y ? x : y)};
}
FNN_INLINE Vec sqrt(Vec x) {
#if defined(__AVX512F__)
  return (NativeF32)_mm512_maskz_sqrt_ps(0xffff, (__m512)x.v);  // the plain form warns in GCC 12
#elif defined(__AVX2__)
  return (NativeF32)_mm256_sqrt_ps((__m256)x.v);
#elif defined(__x86_64__)
  return (NativeF32)_mm_sqrt_ps((__m128)x.v);
#else
  for (int i = 0; i < kLanes; ++i) x.v[i] = __builtin_sqrtf(x.v[i]);
  return x;
#endif
}

#if defined(__AVX512F__)
// The CPU's estimate of 1 / b, of 14 bits, and one step of Newton's method: a square root and this take 12 cycles on
// Zen 4, a square root and a division, which share a unit, 16. Near the ends of the range of floats the estimate is 0,
// denormal or infinite: there, lane by lane, the quotient itself.
FNN_INLINE Vec quotient(Vec a, Vec b) {
  const __m512 divisor = (__m512)b.v;
  const __m512 estimate = _mm512_maskz_rcp14_ps(0xffff, divisor);
  const __m512 error = _mm512_fnmadd_ps(divisor, estimate, _mm512_set1_ps(1.f));
  const __m512 product = _mm512_mul_ps((__m512)a.v, _mm512_fmadd_ps(estimate, error, estimate));
  constexpr int kZero = 0x02 | 0x04, kInfinite = 0x08 | 0x10, kDenormal = 0x20, kNan = 0x01 | 0x80;
  const __mmask16 far = _mm512_fpclass_ps_mask(estimate, kZero | kInfinite | kDenormal | kNan);
  if (__builtin_expect(far != 0, 0)) return (NativeF32)_mm512_mask_div_ps(product, far, (__m512)a.v, divisor);
  return (NativeF32)product;
}
#else
FNN_INLINE Vec quotient(Vec a, Vec b) { return a / b; }
#endif

// ---- memory; no alignment is assumed
struct __attribute__((packed, may_alias)) UnalignedVec {
  NativeF32 v;
};
FNN_INLINE Vec load(const float* p) { return reinterpret_cast<const UnalignedVec*>(p)->v; }
FNN_INLINE void store(float* p, Vec x) { reinterpret_cast<UnalignedVec*>(p)->v = x.v; }

// The first `count` lanes (0 <= count <= kLanes); the others are 0 and nothing behind them is read or written.
#if defined(__AVX512F__)
FNN_INLINE __mmask16 first_lanes(std::int64_t count) { return static_cast<__mmask16>((1u << count) - 1u); }
FNN_INLINE Vec load_partial(const float* p, std::int64_t count) {
  return (NativeF32)_mm512_maskz_loadu_ps(first_lanes(count), p);
}
FNN_INLINE void store_partial(float* p, Vec x, std::int64_t count) {
  _mm512_mask_storeu_ps(p, first_lanes(count), (__m512)x.v);
}
#else
// In pieces of a power of two: memcpy of a length that the compiler does not know is a call (pooling images of one to
// three channels took three to eight times as long).
#if defined(__AVX2__)
FNN_INLINE Vec load_partial(const float* p, std::int64_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return (NativeF32)_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane));
}
#else
FNN_INLINE Vec load_partial(const float* p, std::int64_t count) {
  NativeF32 x = {};
  for (int i = 0; i < kLanes; ++i)
    if (i < count) x[i] = p[i];
  return x;
}
#endif
FNN_INLINE void store_partial(float* p, Vec x, std::int64_t count) {
  alignas(kVectorBytes) float lanes[kLanes];
  store(lanes, x);
  std::int64_t done = 0;
  for (int piece = kLanes; piece > 0; piece /= 2) {
    if ((count & piece) == 0) continue;
    std::memcpy(p + done, lanes + done, static_cast<std::size_t>(piece) * sizeof(float));
    done += piece;
  }
}
#endif

// ---- across lanes, by halving: a fixed order
inline float reduce_add(Vec x) {
  float lanes[kLanes];
  store(lanes, x);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}
inline std::uint32_t reduce_max_unsigned(VecInt x) {
  std::uint32_t lanes[kLanes];
  std::memcpy(lanes, &x, sizeof lanes);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] = std::max(lanes[i], lanes[i + half]);
  return lanes[0];
}
inline float reduce_max(Vec x) {  // NaN lanes are passed over unless all earlier ones are NaN
  float lanes[kLanes];
  store(lanes, x);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i + half] > lanes[i] ? lanes[i + half] : lanes[i];
  return lanes[0];
}

}  // namespace fnn::cpu
