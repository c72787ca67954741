// Loops over vectors whose last one may be partial, with one body for both cases, and sums in float64.
#pragma once
#include <cstdint>

#include "base/thread_team.h"
#include "cpu/simd.h"

namespace fnn::cpu {

// Which lanes of a vector hold elements: all of them, or the first few at the end of an array.
struct AllLanes {};
struct FirstLanes {
  std::int64_t count;
};

FNN_INLINE Vec load(const float* p, AllLanes) { return load(p); }
FNN_INLINE Vec load(const float* p, FirstLanes lanes) { return load_partial(p, lanes.count); }
FNN_INLINE void store(float* p, Vec x, AllLanes) { store(p, x); }
FNN_INLINE void store(float* p, Vec x, FirstLanes lanes) { store_partial(p, x, lanes.count); }

// x, with `value` in the lanes that hold no element.
FNN_INLINE Vec fill(Vec x, float /*value*/, AllLanes) { return x; }
FNN_INLINE Vec fill(Vec x, float value, FirstLanes lanes) {
  NativeI32 index;
  for (int i = 0; i < kLanes; ++i) index[i] = i;
  return select(VecInt{index < static_cast<std::int32_t>(lanes.count)}, x, Vec(value));
}

// Calls body(i, lanes) for every vector of [begin, end).
template <class Body>
FNN_INLINE void for_lanes(std::int64_t begin, std::int64_t end, const Body& body) {
  std::int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, AllLanes{});
  if (i < end) body(i, FirstLanes{end - i});
}

// A sum of floats in float64, lane by lane; `total` adds the lanes up in a fixed order.
class DoubleSum {
 public:
  FNN_INLINE void add(Vec x) {
    const Wide wide = widen(x);
    low_ += wide.low;
    high_ += wide.high;
  }
  FNN_INLINE void add_square(Vec x) {  // squared in float64, where it can't overflow
    const Wide wide = widen(x);
    low_ += wide.low * wide.low;
    high_ += wide.high * wide.high;
  }
  double total() const {
    const NativeF64 both = low_ + high_;
    double sum = 0;
    for (int i = 0; i < kLanes / 2; ++i) sum += both[i];
    return sum;
  }

 private:
  using NativeF64 = double __attribute__((vector_size(kVectorBytes)));
  struct Wide {
    NativeF64 low, high;
  };
  using Half = float __attribute__((vector_size(kVectorBytes / 2)));
  static FNN_INLINE NativeF64 widen_half(Half x) {
#if defined(__AVX512F__)
    return (NativeF64)_mm512_maskz_cvtps_pd(0xff, (__m256)x);  // GCC 12 splits the general form into four
#else
    return __builtin_convertvector(x, NativeF64);
#endif
  }
  static FNN_INLINE Wide widen(Vec x) {
    union {
      NativeF32 whole;
      Half half[2];
    } parts = {x.v};
    return {widen_half(parts.half[0]), widen_half(parts.half[1])};
  }
  NativeF64 low_ = {}, high_ = {};
};

}  // namespace fnn::cpu
