// What has to be known of all gradients before anything is written: their norms, where they are clipped by norm, and
// whether one isn't finite, where that is to be found. Both by the same pass; none where neither is wanted.
#pragma once
#include <optional>

#include "cpu/optimizer.h"
#include "cpu/tensor_sums.h"

namespace fnn::cpu {

class GradientSurvey {
 public:
  // Shared bytes that a kernel needs for it, at the beginning of its scratch.
  static std::size_t bytes(const TensorList& list, const StepOptions& options, int threads);

  // For every worker the same; they may meet.
  template <class Rule>
  GradientSurvey(const StepArguments<Rule>& step, const Worker& worker)
      : GradientSurvey(step.list, step.options, step.found_inf, step.square, worker) {}

  // Whether nothing may be written.
  bool skips() const { return skips_; }
  // What clipping by norm multiplies a tensor's gradient by: min(1, clip_norm / norm).
  double factor(std::int64_t tensor) const;

  // The squares of each tensor's gradient, as clipping by norm sees it. The workers meet.
  static TensorSums<1> squares(const TensorList& list, const StepOptions& options, const Worker& worker);

 private:
  GradientSurvey(const TensorList& list, const StepOptions& options, float* found_inf, const double* square,
                 const Worker& worker);
  static bool find_nonfinite(const TensorList& list, const StepOptions& options, const Worker& worker);

  std::optional<TensorSums<1>> squares_;
  float limit_ = 0.f;
  bool per_tensor_ = false, skips_ = false;
  double common_factor_ = 1.0;
};

}  // namespace fnn::cpu
