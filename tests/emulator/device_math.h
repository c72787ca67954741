// Device functions that g++'s library lacks. The fast ones are exact here.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

using std::max;
using std::min;

namespace cuemu {

template <class To, class From>
To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits can't be lost");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace cuemu

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fdiv_rn(float a, float b) { return a / b; }
// Never contracted to a fused multiply-add by nvcc: volatile keeps g++ from it too.
inline float __fmul_rn(float a, float b) {
  volatile float product = a * b;
  return product;
}
inline float __fadd_rn(float a, float b) {
  volatile float sum = a + b;
  return sum;
}
inline float __fsub_rn(float a, float b) {
  volatile float difference = a - b;
  return difference;
}
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __saturatef(float x) { return x > 0.0f ? std::min(x, 1.0f) : 0.0f; }

inline int __float2int_rn(float x) { return static_cast<int>(std::lrint(x)); }
inline int __float2int_rd(float x) { return static_cast<int>(std::floor(x)); }
inline int __float_as_int(float x) { return cuemu::same_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return cuemu::same_bits<unsigned>(x); }
inline float __int_as_float(int x) { return cuemu::same_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return cuemu::same_bits<float>(x); }
inline long long __double_as_longlong(double x) { return cuemu::same_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return cuemu::same_bits<double>(x); }

inline int __popc(std::uint32_t x) { return __builtin_popcount(x); }
inline int __popcll(std::uint64_t x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<std::uint32_t>(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<std::uint64_t>(x)) : 64; }
inline std::uint32_t __umulhi(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::uint32_t>(std::uint64_t{a} * b >> 32);
}
inline std::uint64_t __umul64hi(std::uint64_t a, std::uint64_t b) {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
}

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
template <class T>
void __stcs(T* address, T value) {
  *address = value;
}
template <class T>
void __stcg(T* address, T value) {
  *address = value;
}
