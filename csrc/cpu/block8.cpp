#include "cpu/block8.h"

#include <algorithm>
#include <cmath>

#include "cpu/narrow.h"

namespace fnn::cpu {
namespace {

// The largest magnitude, as a float's bits: so NaN counts as more than infinity.
std::int32_t largest_bits(const float* from, std::int64_t count) {
  VecInt largest = {};
  for_lanes(0, count, [&](std::int64_t i, auto lanes) {
    const VecInt bits = as_int(abs(load(from + i, lanes)));
    largest = select(VecInt{bits.v > largest.v}, bits, largest);
  });
  std::int32_t found = 0;
  for (int lane = 0; lane < kLanes; ++lane) found = std::max(found, std::int32_t{largest.v[lane]});
  return found;
}

}  // namespace

template <bool kSigned>
void load_block8(const std::uint8_t* codes, float scale, std::int64_t count, float* to) {
  const VecTable8 slope = VecTable8(kDynamic8Lines<kSigned>.slope) * scale;
  const VecTable8 offset = VecTable8(kDynamic8Lines<kSigned>.offset) * scale;
  const auto value = [&](VecInt code) { return dynamic8_value<kSigned>(code, slope, offset, Vec(scale)); };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, value(load_narrow(codes + i)));
  if (i < count) store_partial(to + i, value(load_narrow(PartialNarrow(codes + i, count - i).lanes)), count - i);
}

template <bool kSigned>
float store_block8(const float* from, std::int64_t count, std::uint8_t* codes) {
  const float largest = fnn::as_float(largest_bits(from, count));
  if (!(largest >= 0x1p-126f && largest < INFINITY)) {
    std::fill(codes, codes + count, std::uint8_t{0});
    return largest < 1.f ? 0.f : NAN;
  }
  constexpr const Dynamic8Lines<kSigned>& lines = kDynamic8Lines<kSigned>;
  const VecTable8 gain(lines.gain), shift(lines.shift), cap(lines.cap), threshold(lines.threshold);
  const Vec inverse(1.f / largest);
  const auto code = [&](Vec x) { return dynamic8_code<kSigned>(x * inverse, gain, shift, cap, threshold); };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store_narrow(codes + i, code(load(from + i)));
  if (i < count) {
    PartialNarrow<std::uint8_t> rest;
    store_narrow(rest.lanes, code(load_partial(from + i, count - i)));
    rest.copy(codes + i, count - i);
  }
  return largest;
}

template void load_block8<false>(const std::uint8_t*, float, std::int64_t, float*);
template void load_block8<true>(const std::uint8_t*, float, std::int64_t, float*);
template float store_block8<false>(const float*, std::int64_t, std::uint8_t*);
template float store_block8<true>(const float*, std::int64_t, std::uint8_t*);

}  // namespace fnn::cpu
