// Numbers in 8 bits that keep their relative size over seven decades: dynamic quantisation (Dettmers et al. 2022,
// "8-bit optimizers via block-wise quantization"). A block of numbers shares a scale, its largest magnitude.
//
// Signed: the code is a sign and a magnitude from 0 to 127, in decade i = floor(log2 magnitude), and stands for
//     10^(i-6) (0.1 + 0.9 (magnitude - 2^i + 0.5) / 2^i) scale;   0 is 0, and 0x80 the scale itself.
// Unsigned: from 2 to 255, in decade i = floor(log2 code), it stands for
//     10^(i-7) (0.1 + 0.9 (code - 2^i + 0.5) / 2^i) scale;        0 is 0, and 1 the scale itself.
// These are the numbers of bitsandbytes' maps, in an order that arithmetic finds: within a decade a number is linear in
// its code, so that tables of a line for each decade are all that has to be looked up.
//
// As templates over T: float, or a vector of floats with integers and a `lookup` beside it.
#pragma once
#include <cstdint>

#include "base/macros.h"
#include "math/numeric.h"

namespace fnn {

// The numbers that share a scale.
inline constexpr std::int64_t kBlock8 = 256;

// Eight numbers by index, of which the low three bits count; twice, as they fill a vector of 16.
struct Table8 {
  alignas(64) float entry[16];
  constexpr void set(int index, double value) { entry[index] = entry[index + 8] = static_cast<float>(value); }
};
FNN_HD FNN_INLINE float lookup(const Table8& table, std::int32_t index) { return table.entry[index & 7]; }

template <bool kSigned>
struct Dynamic8Lines {
  // value = slope magnitude + offset, by the magnitude's exponent as a float; code = gain value + shift, by decade from
  // 1 on, at most `cap`; threshold[i]: the smallest value that is nearer to decade i + 1 than to i.
  Table8 slope{}, offset{}, gain{}, shift{}, cap{}, threshold{};
  float top;  // the smallest that is nearest to 1

  constexpr Dynamic8Lines() : top(0.f) {
    constexpr int kFirst = kSigned ? 0 : 1;
    double ten = 1e-6, largest = 0;
    for (int decade = 1; decade <= 7; ++decade, ten *= 10) {
      const int exponent = decade - 1 + kFirst;
      const double codes = 1 << exponent;
      const int index = (127 + exponent) & 7;
      slope.set(index, 0.9 * ten / codes);
      offset.set(index, ten * (0.45 / codes - 0.8));
      gain.set(decade, codes / (0.9 * ten));
      shift.set(decade, codes * 8.0 / 9.0);
      cap.set(decade, 2 * codes - 0.5);
      const double smallest = ten * (0.1 + 0.45 / codes);
      threshold.set(decade - 1, (smallest + largest) / 2);
      largest = ten * (1.0 - 0.45 / codes);
    }
    threshold.set(7, 3e38);
    if (!kSigned) offset.set(127 & 7, 1.0);
    top = static_cast<float>((1.0 + largest) / 2);
  }
};
template <bool kSigned>
inline constexpr Dynamic8Lines<kSigned> kDynamic8Lines{};

// What a code stands for. slope, offset: the lines' tables times `scale`.
template <bool kSigned, class I, class Table, class T>
FNN_HD FNN_INLINE T dynamic8_value(I code, const Table& slope, const Table& offset, T scale) {
  const T magnitude = to_float(kSigned ? code & 0x7f : code);
  const auto exponent = as_int(magnitude) >> 23;
  const T value = max(lookup(slope, exponent) * magnitude + lookup(offset, exponent), T(0.f));  // code 0: below 0
  if (!kSigned) return value;
  const T with_sign = as_float(as_int(value) | ((code & 0x80) << 24));
  return select(code == 0x80, scale, with_sign);
}

// The code that is nearest to x, from -1 to 1, or from 0 to 1 unsigned; less than 0 counts as 0 there.
template <bool kSigned, class T, class Table>
FNN_HD FNN_INLINE auto dynamic8_code(T x, const Table& gain, const Table& shift, const Table& cap,
                                     const Table& threshold) {
  const T size = kSigned ? abs(x) : x;
  // The bits of a float as an integer are its logarithm, piecewise linear: near enough for the decade or the one below.
  constexpr float kLog = 0.30103f / (1 << 23), kZero = 6.8f - 0.30103f * 127.f, kRound = 12582912.f;  // 1.5 * 2^23
  const T log = to_float(as_int(max(size, T(1e-7f)))) * T(kLog) + T(kZero);
  const auto below = as_int(log + T(kRound));
  const auto decade = select(size < lookup(threshold, below), below, below + 1);
  const T line = min(size * lookup(gain, decade) + lookup(shift, decade), lookup(cap, decade));
  const auto magnitude = truncated(line);
  const T top(kDynamic8Lines<kSigned>.top);
  if (!kSigned) return select(x < top, magnitude, as_int(T(0.f)) + 1);
  const auto with_sign = select(line < T(1.f), magnitude, magnitude | ((as_int(x) >> 24) & 0x80));
  return select(x < top, with_sign, as_int(T(0.f)) + 0x80);
}

}  // namespace fnn
