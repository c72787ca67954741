#include "cpu/conv.h"
#include "cuda/gradient.h"
#include "cuda/run.h"

namespace fnn::cuda {

template <>
void run(const cpu::ConvInputGradient& kernel, cudaStream_t stream);
template <>
void run(const cpu::ConvWeightGradient& kernel, cudaStream_t stream);

template <>
void run(const cpu::ConvBackward& kernel, cudaStream_t stream) {
  const cpu::ConvShape& s = kernel.shape;
  begin_backward(kernel.activation, kernel.alpha, kernel.saved, kernel.dy, kernel.dz, kernel.db, s.n * s.pixels(), s.f,
                 kernel.accumulate, stream);
  if (kernel.dw != nullptr) run(kernel.weight_gradient(), stream);
  if (kernel.dx != nullptr) run(kernel.input_gradient(), stream);
}

}  // namespace fnn::cuda
