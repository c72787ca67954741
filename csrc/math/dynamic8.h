// Numbers in 8 bits that keep their relative size over seven decades: dynamic quantisation (Dettmers et al. 2022,
// "8-bit optimizers via block-wise quantization"). The numbers of a block share a scale.
//
// Signed: the code is a sign and a magnitude from 0 to 127, in decade i = floor(log2 magnitude), and stands for
//     10^(i-6) (0.1 + 0.9 (magnitude - 2^i + 0.5) / 2^i) scale.   0 and 0x80 are 0.
// Unsigned: from 2 to 255, in decade i = floor(log2 code), it stands for
//     10^(i-7) (0.1 + 0.9 (code - 2^i + 0.5) / 2^i) scale.        0 and 1 are 0.
// These are the numbers of bitsandbytes' maps but for the scale itself, in an order that arithmetic finds: within a
// decade a number is linear in its code, so that tables of a line for each decade are all that has to be looked up.
//
// A number gets the code in whose cell it lies, so that it's wrong by half the width of the cell at most: a decade is
// cut into 2^i cells of one width, with the code's number in the middle. Below 1.9e-7 of the scale it gets 0. The scale
// is such that the largest magnitude of a block is exactly the largest number of either sign.
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
  // value = slope magnitude + offset, by the magnitude's exponent as a float. code = 2^i (gain value + 8/9), by the
  // number of the decade from 1 on, plus 31.
  Table8 slope{}, offset{}, gain{};
  float largest;  // of the numbers that are written

  static constexpr int kFirst = kSigned ? 0 : 1;
  static constexpr float kUnit = kSigned ? 0x1p-32f : 0x1p-31f;  // 2^i, times this, is 2^(decade + 31)

  constexpr Dynamic8Lines() : largest(0.f) {
    double ten = 1e-6;
    for (int decade = 1; decade <= 7; ++decade, ten *= 10) {
      const int exponent = decade - 1 + kFirst;
      const double codes = 1 << exponent;
      slope.set((127 + exponent) & 7, 0.9 * ten / codes);
      offset.set((127 + exponent) & 7, ten * (0.45 / codes - 0.8));
      gain.set((decade + 31) & 7, kUnit / (0.9 * ten));
      largest = static_cast<float>(ten * (1.0 - 0.45 / codes));
    }
  }
};
template <bool kSigned>
inline constexpr Dynamic8Lines<kSigned> kDynamic8Lines{};

// What a code stands for. slope, offset: the lines' tables times the scale.
template <bool kSigned, class T, class I, class Table>
FNN_HD FNN_INLINE T dynamic8_value(I code, const Table& slope, const Table& offset) {
  const T magnitude = to_float(kSigned ? code & 0x7f : code);
  const auto exponent = as_int(magnitude) >> 23;
  const T value = positive_part(lookup(slope, exponent) * magnitude + lookup(offset, exponent));  // code 0: below 0
  if (!kSigned) return value;
  return as_float(as_int(value) | ((code << 24) & INT32_MIN));
}

// The code of x, of at most `largest` in magnitude; unsigned, x has no sign.
template <bool kSigned, class T, class Table>
FNN_HD FNN_INLINE auto dynamic8_code(T x, const Table& gain) {
  constexpr float kUnit = Dynamic8Lines<kSigned>::kUnit;
  const T size = kSigned ? abs(x) : x;
  // The bits of a float as an integer are its logarithm, piecewise linear: near enough for its decade or the one below.
  // That number, plus 31, is what is left in the lowest bits when 1.5 * 2^23 is added.
  const auto decade = as_int(to_float(as_int(size)) * T(0.30103f / (1 << 23)) + T(12582912.f));
  const T lower = size * lookup(gain, decade) + T(kUnit * 8 / 9);
  const T line = min(lower, lower * T(0.2f) + T(kUnit * 1.6f));  // lines over two decades; code is concave in size
  const T code = as_float(as_int(line) + (decade << 23));
  return kSigned ? truncated(code) | ((as_int(x) >> 24) & 0x80) : truncated(code);
}

}  // namespace fnn
