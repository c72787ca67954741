// Sums in float64 over what the workers of a kernel have each added up, in a fixed order.
#pragma once
#include <cstdint>

#include "base/thread_team.h"

namespace fnn::cpu {

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
