// Reductions on the CPU; each worker has a contiguous share.
#include "cpu/reduce.h"

#include <algorithm>

#include "cpu/lanes.h"

namespace fnn::cpu {
namespace {

// First i in [begin, end) with x[i] NaN or infinite, or end. Blocks are tested as a whole, without branches.
std::int64_t find_nonfinite(const float* x, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kBlock = 1024;
  const auto nonfinite = [x](std::int64_t i) { return (fnn::as_int(x[i]) & 0x7f800000) == 0x7f800000; };
  for (std::int64_t block = begin; block < end; block += kBlock) {
    const std::int64_t stop = std::min(end, block + kBlock);
    std::int32_t any = 0;
    for (std::int64_t i = block; i < stop; ++i) any |= nonfinite(i);
    for (std::int64_t i = block; any && i < stop; ++i) {
      if (nonfinite(i)) return i;
    }
  }
  return end;
}

}  // namespace

void RegularizationPenalty::operator()(const Worker& worker) const {
  const Range mine = share(count, worker.rank, worker.size, 16);
  DoubleSum absolute, square;
  for_lanes(mine.begin, mine.end, [&](std::int64_t i, auto lanes) {
    const Vec p = load(param + i, lanes);
    absolute.add(abs(p));
    square.add_square(p);
  });
  // A term without a factor is left out: 0 * inf would be NaN.
  const double sums[1] = {(l1 != 0 ? l1 * absolute.total() : 0) + (l2 != 0 ? l2 * square.total() : 0)};
  add_sums<1>(worker, sums, {loss});
}

void FirstNonfinite::operator()(const Worker& worker) const {
  const Range mine = share(count, worker.rank, worker.size, 16);
  const std::int64_t found = find_nonfinite(x, mine.begin, mine.end);
  std::int64_t* all = worker.shared<std::int64_t>();
  all[worker.rank] = found < mine.end ? found : -1;
  worker.barrier();
  if (worker.rank != 0) return;
  *first = -1;
  for (int rank = worker.size - 1; rank >= 0; --rank) {
    if (all[rank] >= 0) *first = all[rank];
  }
}

}  // namespace fnn::cpu
