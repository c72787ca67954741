// Blocks of numbers in 8 bits with a common scale (math/dynamic8.h).
//
// A block with an infinity or a NaN gets NaN for its scale: all of it is NaN from then on, so that nothing gets lost.
// One whose numbers are all below the smallest normal float gets 0.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu/narrow.h"
#include "math/dynamic8.h"

namespace fnn::cpu {

FNN_INLINE VecInt load_codes(const std::uint8_t* codes, AllLanes) { return load_narrow(codes); }
FNN_INLINE VecInt load_codes(const std::uint8_t* codes, FirstLanes lanes) {
  return load_narrow(PartialNarrow(codes, lanes.count).lanes);
}
FNN_INLINE void store_codes(std::uint8_t* codes, VecInt code, AllLanes) { store_narrow(codes, code); }
FNN_INLINE void store_codes(std::uint8_t* codes, VecInt code, FirstLanes lanes) {
  PartialNarrow<std::uint8_t> rest;
  store_narrow(rest.lanes, code);
  rest.copy(codes, lanes.count);
}

// Reads a block.
template <bool kSigned>
class Reader8 {
 public:
  // A scale has no sign, not even if it is NaN: the integers of `positive_part` would take a NaN with one for a number.
  FNN_INLINE explicit Reader8(float scale)
      : slope_(VecTable8(kDynamic8Lines<kSigned>.slope) * std::fabs(scale)),
        offset_(VecTable8(kDynamic8Lines<kSigned>.offset) * std::fabs(scale)) {}
  template <class Lanes>
  FNN_INLINE Vec operator()(const std::uint8_t* codes, Lanes lanes) const {
    return dynamic8_value<kSigned, Vec>(load_codes(codes, lanes), slope_, offset_);
  }

 private:
  VecTable8 slope_, offset_;
};

// The largest magnitude, as a float's bits without a sign: so NaN counts as more than infinity.
template <bool kSigned>
class Largest {
 public:
  template <class Lanes>
  FNN_INLINE void add(Vec x, Lanes lanes) {
    const Vec size = fill(kSigned ? abs(x) : x, 0.f, lanes);
    bits_ = larger_unsigned(as_int(size), bits_);
  }
  float value() const { return fnn::as_float(static_cast<std::int32_t>(reduce_max_unsigned(bits_) & 0x7fffffff)); }

 private:
  VecInt bits_ = {};
};

// Writes a block whose largest magnitude is known.
template <bool kSigned>
class Writer8 {
 public:
  FNN_INLINE explicit Writer8(float largest)
      : gain_(kDynamic8Lines<kSigned>.gain), ordinary_(largest >= 0x1p-126f && largest < 3e38f) {
    constexpr float kMost = kDynamic8Lines<kSigned>.largest;
    inverse_ = Vec(ordinary_ ? kMost / largest : 0.f);
    scale_ = ordinary_ ? largest / kMost : largest < 1.f ? 0.f : NAN;
  }
  template <class Lanes>
  FNN_INLINE void operator()(Vec x, std::uint8_t* codes, Lanes lanes) const {
    store_codes(codes, dynamic8_code<kSigned>(x * inverse_, gain_), lanes);
  }
  // After all of the block: its scale.
  FNN_INLINE float finish(std::uint8_t* codes, std::int64_t count) const {
    if (!ordinary_) std::fill(codes, codes + count, std::uint8_t{0});
    return scale_;
  }

 private:
  VecTable8 gain_;
  Vec inverse_;
  float scale_;
  bool ordinary_;
};

// Up to kBlock8 numbers.
template <bool kSigned>
void load_block8(const std::uint8_t* codes, float scale, std::int64_t count, float* to) {
  const Reader8<kSigned> read(scale);
  for_lanes(0, count, [&](std::int64_t i, auto lanes) { store(to + i, read(codes + i, lanes), lanes); });
}
// Returns the scale.
template <bool kSigned>
float store_block8(const float* from, std::int64_t count, std::uint8_t* codes) {
  Largest<kSigned> largest;
  for_lanes(0, count, [&](std::int64_t i, auto lanes) { largest.add(load(from + i, lanes), lanes); });
  const Writer8<kSigned> write(largest.value());
  for_lanes(0, count, [&](std::int64_t i, auto lanes) { write(load(from + i, lanes), codes + i, lanes); });
  return write.finish(codes, count);
}

}  // namespace fnn::cpu
