// What the kernels of a step have in common: where they get its numbers from, and the gradient that a rule sees.
#pragma once
#include "cuda/gradient_survey.cuh"

namespace fnn::cuda {

// Kernels that work out numbers for each tensor: a thread a tensor.
inline constexpr unsigned kPrepareThreads = 64;
inline dim3 prepare_grid(const DeviceTensors& list) {
  return dim3(static_cast<unsigned>((list.tensor_count + kPrepareThreads - 1) / kPrepareThreads));
}

template <class Rule>
DeviceNumbers device_numbers(const cpu::StepArguments<Rule>& step) {
  if (step.by_value) return {*step.lr, *step.t, nullptr, nullptr, step.loss_scale};
  return {0.0, 0, step.lr, step.t, step.loss_scale};
}

// By all threads of a block, before they meet.
__device__ inline void copy_tables(const Tables8& from, Tables8& to) {
  constexpr int kFloats = sizeof(Tables8) / sizeof(float);
  const auto* source = reinterpret_cast<const float*>(&from);
  if (threadIdx.x < kFloats) reinterpret_cast<float*>(&to)[threadIdx.x] = source[threadIdx.x];
}

// The gradient that the rule gets. Where all that is asked for is a factor, p doesn't come into it, not even a NaN.
__device__ inline float prepared(const Preparation& prepare, bool only_scales, float scale, float p, float g) {
  return only_scales ? scale * g : prepare(p, g);
}

}  // namespace fnn::cuda
