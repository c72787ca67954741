// The optimizer's step of one tensor, for a kernel that has just computed its gradient and doesn't know the rule.
#pragma once
#include "cpu/tensor_update.h"
#include "cuda/run.h"

namespace fnn::cuda {

// What a cpu::TensorUpdate has as its `step` on a GPU, where its `function` is null.
class QueuedStep {
 public:
  virtual ~QueuedStep() = default;
  virtual void enqueue(const cpu::OptimizerTensor& tensor, const float* grad, cudaStream_t stream) const = 0;
};

}  // namespace fnn::cuda
