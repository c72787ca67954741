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

// Sums of all workers, in the order of their ranks. A kernel that calls it asks for `sums_scratch<kCount>(threads)`.
template <int kCount>
Scratch sums_scratch(int threads) {
  return {static_cast<std::size_t>(threads) * ((kCount + 7) / 8) * 64, 0};  // a cache line or more for each
}
template <int kCount>
void add_sums(const Worker& worker, const double (&mine)[kCount], double* const (&totals)[kCount]) {
  constexpr int kStride = (kCount + 7) / 8 * 8;
  double* all = worker.shared<double>();
  for (int k = 0; k < kCount; ++k) all[worker.rank * kStride + k] = mine[k];
  worker.barrier();
  if (worker.rank != 0) return;
  for (int k = 0; k < kCount; ++k) {
    if (totals[k] == nullptr) continue;
    double sum = 0;
    for (int rank = 0; rank < worker.size; ++rank) sum += all[rank * kStride + k];
    *totals[k] += sum;
  }
}

// A sum over rows, each row's share left in shared memory by whoever works on it: the same bits however the rows are
// divided. A kernel that uses it asks for `row_sums_scratch(rows)` and calls `sum_rows` in `conclude`.
inline Scratch row_sums_scratch(std::int64_t rows) { return {static_cast<std::size_t>(rows) * sizeof(double), 0}; }
inline double sum_rows(const Worker& worker, std::int64_t rows) {
  const double* values = worker.shared<double>();
  double sums[4] = {};  // four chains: an addition takes three or four cycles
  std::int64_t i = 0;
  for (; i + 4 <= rows; i += 4)
    for (int k = 0; k < 4; ++k) sums[k] += values[i + k];
  for (; i < rows; ++i) sums[0] += values[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace fnn::cpu
