// A step of Muon over matrices: each one's momentum, then the Newton-Schulz iteration, in float32 by cpu/gemm.h, and
// the update. Large matrices are worked on by all threads together, small ones by a thread each.
#pragma once
#include "cpu/optimizer.h"
#include "math/muon_rule.h"

namespace fnn::cpu {

// lr, t and found_inf: as in OptimizerStep. Every tensor has `rows`; which of a matrix and its transpose lies in memory
// makes no difference.
struct MuonStep : Kernel {
  TensorList list;
  MuonRule rule;
  StepOptions options;
  const double* lr;
  const std::int64_t* t;
  float* found_inf;
  MuonStep(const TensorList& list, const MuonRule& rule, const StepOptions& options, const double* lr,
           const std::int64_t* t, float* found_inf = nullptr)
      : list(list), rule(rule), options(options), lr(lr), t(t), found_inf(found_inf) {}
  Scratch scratch(int threads) const;
  std::int64_t work() const;
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
