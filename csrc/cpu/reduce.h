// Reductions over an array: the penalty of a regularizer, the place of the first NaN or infinity.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "cpu/worker_sums.h"

namespace fnn::cpu {

// loss += l1 * sum |p| + l2 * sum p^2
struct RegularizationPenalty : Kernel {
  const float* param;
  double* loss;
  std::int64_t count;
  double l1, l2;
  Scratch scratch(int threads) const { return sums_scratch<1>(threads); }
  std::int64_t work() const { return count; }
  void operator()(const Worker& worker) const;
};

// *first = smallest i with x[i] NaN or infinite, -1 if there is none
struct FirstNonfinite : Kernel {
  const float* x;
  std::int64_t* first;
  std::int64_t count;
  Scratch scratch(int threads) const { return {static_cast<std::size_t>(threads) * sizeof(std::int64_t), 0}; }
  std::int64_t work() const { return count / 2; }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
