// What has to be known of all gradients before anything is written: their norms, where they are clipped by norm, and
// whether one isn't finite, where that is to be found. A kernel of sums over pieces, one that adds up each tensor's,
// one that concludes; none where nothing is asked for. All sums are in float64 and in a fixed order.
#pragma once
#include <optional>

#include "cpu/optimizer.h"
#include "cuda/staged_run.cuh"
#include "cuda/workspace.h"

namespace fnn::cuda {

// The numbers of a step as a kernel knows them: those of the host, or where they lie in the GPU's memory.
struct DeviceNumbers {
  double lr_value;
  std::int64_t t_value;
  const double* lr_at;
  const std::int64_t* t_at;
  const float* loss_scale;  // what gradients are divided by, or null

  __device__ double lr() const { return lr_at != nullptr ? *lr_at : lr_value; }
  __device__ std::int64_t t() const { return t_at != nullptr ? *t_at : t_value; }
  __device__ cpu::StepOptions scaled(cpu::StepOptions options) const {
    if (loss_scale != nullptr) options.scale *= static_cast<float>(1.0 / static_cast<double>(*loss_scale));
    return options;
  }
};

// For kernels that come after, by value.
struct SurveyResult {
  const double* sums;    // of each tensor's squares, where each is clipped by itself, else null
  const double* common;  // what all are clipped by, or null
  const float* skip;     // nothing may be written where this isn't 0; may be null
  float limit;           // of each tensor's norm

  __device__ bool skips() const { return skip != nullptr && *skip != 0.f; }
  __device__ double factor(std::int64_t tensor) const;
};

__device__ inline double clip_factor(double square, float limit) {
  const double norm = ::sqrt(square);
  return norm > limit ? limit / norm : 1.0;
}
__device__ inline double SurveyResult::factor(std::int64_t tensor) const {
  if (sums != nullptr) return clip_factor(sums[tensor], limit);
  return common != nullptr ? *common : 1.0;
}

// Enqueues what is needed, and keeps the memory until the end of its life.
class GradientSurvey {
 public:
  template <class Rule>
  GradientSurvey(const cpu::StepArguments<Rule>& step, const DeviceNumbers& numbers, cudaStream_t stream)
      : GradientSurvey(step.list, step.options, numbers, step.found_inf, step.square, stream) {}
  const SurveyResult& result() const { return result_; }
  // Whether any of its kernels was needed.
  bool enqueued() const { return memory_.has_value(); }

 private:
  GradientSurvey(const cpu::TensorList& list, const cpu::StepOptions& options, const DeviceNumbers& numbers,
                 float* found_inf, const double* square, cudaStream_t stream);

  SurveyResult result_ = {};
  std::optional<Workspace> memory_;
};

// Adds up `count` sums of each tensor: of pieces, double[pieces][count], to double[tensors][count].
void add_pieces(const DeviceTensors& list, int count, const double* pieces, double* tensors, cudaStream_t stream);

// A launch for all pieces of a list: fnn::launch(kernel, piece_grid(list), kPieceThreads, 0, stream, ...).
inline constexpr unsigned kPieceThreads = kPiece / kEach;
inline dim3 piece_grid(const DeviceTensors& list) { return dim3(static_cast<unsigned>(list.piece_count)); }

}  // namespace fnn::cuda
