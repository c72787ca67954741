// Dropout (Srivastava et al., 2014) with a counter-based mask that is never stored: the backward pass draws it again.
#pragma once
#include <cstdint>

#include "base/kernel.h"

namespace fnn::cpu {

// y[i] = m[i] x[i] / (1 - rate), where m[i] is 0 with probability rate, else 1. y may be x.
// Word i % 4 of Philox(key = state[0], counter = (i / 4, state[1], stream)) decides m[i], so that the mask depends
// neither on the number of threads nor on the instruction set.
struct Dropout : Kernel {
  const float* x;
  float* y;
  const std::uint64_t* state;  // seed and counter: [2], read when the kernel runs
  std::int64_t count;
  double rate;
  std::uint32_t stream;

  std::int64_t work() const { return 2 * count; }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
