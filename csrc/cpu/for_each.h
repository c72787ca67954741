// The generic elementwise loop: a functor over one vector, run over a share of an array.
#pragma once
#include <cstdint>

#include "base/thread_team.h"
#include "cpu/simd.h"

namespace fnn::cpu {

// y[i] = f(a[i], ...) for i in [begin, end). f takes and returns Vec; arrays may coincide, but not overlap otherwise.
template <class F, class... In>
FNN_INLINE void map(std::int64_t begin, std::int64_t end, float* y, const F& f, const In*... in) {
  std::int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) store(y + i, f(load(in + i)...));
  if (i < end) store_partial(y + i, f(load_partial(in + i, end - i)...), end - i);
}

// The same over this worker's share of [0, count), cut at whole cache lines.
template <class F, class... In>
FNN_INLINE void map_share(const Worker& worker, std::int64_t count, float* y, const F& f, const In*... in) {
  const Range mine = share(count, worker.rank, worker.size, 16);
  map(mine.begin, mine.end, y, f, in...);
}

}  // namespace fnn::cpu
