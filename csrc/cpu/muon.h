// A step of Muon over matrices: each one's momentum, then the Newton-Schulz iteration, in float32 by cpu/gemm.h, and
// the update. Large matrices are worked on by all threads together, small ones by a thread each.
#pragma once
#include "cpu/optimizer.h"
#include "math/muon_rule.h"

namespace fnn::cpu {

// Every tensor has `rows`; which of a matrix and its transpose lies in memory makes no difference.
struct MuonStep : StepArguments<MuonRule> {
  using StepArguments<MuonRule>::StepArguments;
  Scratch scratch(int threads) const;
  std::int64_t work() const;
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
