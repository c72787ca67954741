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
// Up with the probability of the part that goes; `random`: uniform from 0 to 65535. Infinity stays.
template <class T, class I>
FNN_HD FNN_INLINE auto float_to_bfloat16(T x, I random) {
  return (as_int(quiet_nan(x)) + random) >> 16;
}

// ---- a float32 as a bfloat16, ties away from 0, and its own lower half: what was rounded can be told from that, since
// it's negative as an int16 where the bfloat16 was rounded up
template <class T>
FNN_HD FNN_INLINE auto float_to_upper_half(T x) {
  return (as_int(x) + 0x8000) >> 16;  // of a quiet_nan(x)
}
template <class I>
FNN_HD FNN_INLINE auto float_of_halves(I upper, I lower_int16) {
  return as_float((upper << 16) + lower_int16);
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
// Of a magnitude below 65536, `normal` and `subnormal` being its roundings at either side of 2^-14.
template <class T, class I>
FNN_HD FNN_INLINE auto assemble_float16(T x, I normal, I subnormal) {
  const T magnitude = abs(x);
  const auto infinite_or_nan = select(magnitude == magnitude, (normal & 0) + 0x7c00, (normal & 0) + 0x7e00);
  const auto finite = select(magnitude < T(0x1p-14f), subnormal, normal);
  return select(magnitude < T(65536.f), finite, infinite_or_nan) | ((as_int(quiet_nan(x)) >> 16) & 0x8000);
}
template <class T>
FNN_HD FNN_INLINE auto float_to_float16(T x) {
  const T magnitude = abs(quiet_nan(x));
  const auto bits = as_int(magnitude) - 0x38000000;  // the exponent's bias is 15 and not 127
  // 0.5 has its last place where subnormal numbers have theirs, so that adding it rounds.
  return assemble_float16(x, (bits + ((bits >> 13) & 1) + 0xfff) >> 13, as_int(magnitude + T(0.5f)) - 0x3f000000);
}
// Stochastically; of `random` 13 bits count, as many as go.
template <class T, class I>
FNN_HD FNN_INLINE auto float_to_float16(T x, I random) {
  const T magnitude = abs(quiet_nan(x));
  const auto part = (random >> 3) & 0x1fff;
  const auto subnormal = truncated(min(magnitude, T(1.f)) * T(0x1p24f) + to_float(part) * T(0x1p-13f));
  return assemble_float16(x, (as_int(magnitude) - 0x38000000 + part) >> 13, subnormal);
}

}  // namespace fnn
