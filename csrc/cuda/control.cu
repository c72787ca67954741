// What moves the small state of a training step on: one thread each, but for the numbers of a batch's samples.
#include "cpu/control.h"
#include "cuda/for_each.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

template <class Control>
__global__ void apply_control(Control k) {
  k.apply();
}

template <class Control>
void run_control(const Control& k, cudaStream_t stream) {
  FNN_CUDA_CHECK(launch(apply_control<Control>, 1, 1, 0, stream, k));
}

__global__ void __launch_bounds__(kThreads) begin_batch(cpu::BeginBatch k) {
  for (int64_t i = first_index(); i < k.count; i += index_stride()) k.index[i] = k.sample(i);
  if (first_index() == 0) *k.total = 0.0;
}

}  // namespace

double value_of(const double* number, cudaStream_t stream) {
  double value = 0;
  FNN_CUDA_CHECK(cudaMemcpyAsync(&value, number, sizeof value, cudaMemcpyDeviceToHost, stream));
  FNN_CUDA_CHECK(cudaStreamSynchronize(stream));
  return value;
}

template <>
void run(const cpu::BeginBatch& k, cudaStream_t stream) {
  FNN_CUDA_CHECK(launch(begin_batch, blocks_for(k.count), kThreads, 0, stream, k));
}
template <>
void run(const cpu::ClearLoss& k, cudaStream_t stream) {
  run_control(k, stream);
}
template <>
void run(const cpu::AdvanceRandom& k, cudaStream_t stream) {
  run_control(k, stream);
}
template <>
void run(const cpu::StoreLoss& k, cudaStream_t stream) {
  run_control(k, stream);
}
template <>
void run(const cpu::NoteNonfinite& k, cudaStream_t stream) {
  run_control(k, stream);
}
template <>
void run(const cpu::BeginUpdate& k, cudaStream_t stream) {
  run_control(k, stream);
}
template <>
void run(const cpu::EndBatch& k, cudaStream_t stream) {
  run_control(k, stream);
}

}  // namespace fnn::cuda
