// What the processor can do at best: loops that only multiply and add, only copy, only scale, only sum. `fastnn bench`
// measures every kernel against them.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "cpu/simd.h"

namespace fnn::cpu {

// `rounds` fused multiply-adds in each of kChains independent vectors, on every thread; out: one float for each thread.
struct MultiplyAddLoop : Kernel {
  static constexpr int kChains = 10;  // latency times throughput of two units: 2 * 5 cycles
  float* out;
  std::int64_t rounds;

  std::int64_t flops() const { return rounds * kChains * kLanes * 2; }  // of one thread
  void operator()(const Worker& worker) const;
};

// y = x, `rounds` times; each thread copies the same share again, so what fits into its cache stays there.
struct CopyLoop : Kernel {
  const float* x;
  float* y;
  std::int64_t count, rounds;
  void operator()(const Worker& worker) const;
};

// x *= scale, `rounds` times, likewise.
struct ScaleLoop : Kernel {
  float* x;
  float scale;
  std::int64_t count, rounds;
  void operator()(const Worker& worker) const;
};

// All arrays become their sum, `rounds` times, each thread doing its share of all of them: the arithmetic of an
// all-reduce over shared memory by as many ranks as there are arrays, with nobody waiting for anybody.
struct PushLoop : Kernel {
  float* const* arrays;
  int array_count;
  std::int64_t count, rounds;
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
