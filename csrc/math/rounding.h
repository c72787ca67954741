// Floats in 16 bits: bfloat16 and float16, as templates over T: float, or a vector of floats in the CPU's loops.
//
// A format's bits come and go as integers of 32 bits, one a lane: their low halves. Encoding rounds to the nearest,
// ties to even; every NaN becomes the quiet one without a sign.
#pragma once
#include <cmath>
#include <cstdint>

#include "math/numeric.h"

namespace fnn {

template <class T>
FNN_HD FNN_INLINE T quiet_nan(T x) {
  return select(x == x, x, T(NAN));
}

// ---- bfloat16: the upper half of a float32
template <class I>
FNN_HD FNN_INLINE auto bfloat16_to_float(I bits) {
  return as_float(bits << 16);
}
template <class T>
FNN_HD FNN_INLINE auto float_to_bfloat16(T x) {
  const auto bits = as_int(quiet_nan(x));
  return (bits + ((bits >> 16) & 1) + 0x7fff) >> 16;
}

// ---- float16: 1 bit for the sign, 5 for the exponent, 10 for the mantissa
template <class I>
FNN_HD FNN_INLINE auto float16_to_float(I bits) {
  // The exponent's bits where a float32 has them, times the ratio of the scales: right for subnormal numbers, too.
  const auto magnitude = as_float((bits & 0x7fff) << 13);
  using T = std::decay_t<decltype(magnitude)>;
  const T finite = magnitude * T(0x1p112f);
  const T value = select(finite >= T(65536.f), as_float(as_int(magnitude) + 0x70000000), finite);  // inf and NaN
  return as_float(as_int(value) | ((bits & 0x8000) << 16));
}
template <class T>
FNN_HD FNN_INLINE auto float_to_float16(T x) {
  const auto sign = (as_int(x) >> 16) & 0x8000;
  const T magnitude = abs(x);
  const auto bits = as_int(magnitude);
  // Normal: the exponent's bias is 15 and not 127, and the 13 last bits go. Subnormal, below 2^-14: 0.5 has its last
  // place where they have theirs, so that adding it rounds.
  const T normal = as_float((bits + ((bits >> 13) & 1) + 0xfff - 0x38000000) >> 13);
  const T subnormal = as_float(as_int(magnitude + T(0.5f)) - 0x3f000000);
  const T finite = select(magnitude < T(0x1p-14f), subnormal, normal);
  const T large = select(magnitude == magnitude, as_float(as_int(T(0.f)) + 0x7c00), as_float(as_int(T(0.f)) + 0x7e00));
  return as_int(select(magnitude < T(65520.f), finite, large)) | sign;
}

}  // namespace fnn
