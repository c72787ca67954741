#include "cuda/error.h"
#include "cuda/traced_numbers.h"

namespace fnn::cuda {
namespace {

__host__ __device__ double value_of(const TracedNumber& number, const void* at) {
  switch (number.type) {
    case NumberType::float32:
      return static_cast<double>(*static_cast<const float*>(at));
    case NumberType::float64:
      return *static_cast<const double*>(at);
    case NumberType::int32:
      return static_cast<double>(*static_cast<const std::int32_t*>(at));
    case NumberType::int64:
      break;
  }
  return static_cast<double>(*static_cast<const std::int64_t*>(at));
}

__device__ double number_of(const TracedNumber& number) {
  return number.at != nullptr ? value_of(number, number.at) : number.value;
}

__global__ void read_numbers(TracedNumber lr, TracedNumber t, TracedNumber grad_scale, GatheredNumbers* to,
                             float* found_inf) {
  to->lr = number_of(lr);
  to->t = static_cast<std::int64_t>(number_of(t));
  to->loss_scale = static_cast<float>(1.0 / number_of(grad_scale));
  if (found_inf != nullptr) *found_inf = 0.f;
}

}  // namespace

void gather_numbers(cudaStream_t stream, const TracedNumber& lr, const TracedNumber& t, const TracedNumber& grad_scale,
                    GatheredNumbers* to, float* found_inf) {
  FNN_CUDA_CHECK(launch(read_numbers, 1, 1, 0, stream, lr, t, grad_scale, to, found_inf));
}

double read_number(cudaStream_t stream, const TracedNumber& number) {
  if (number.at == nullptr) return number.value;
  const bool wide = number.type == NumberType::float64 || number.type == NumberType::int64;
  double bits = 0.0;  // room for any type
  FNN_CUDA_CHECK(cudaMemcpyAsync(&bits, number.at, wide ? 8 : 4, cudaMemcpyDeviceToHost, stream));
  FNN_CUDA_CHECK(cudaStreamSynchronize(stream));
  return value_of(number, &bits);
}

void copy_bytes(cudaStream_t stream, void* to, const void* from, std::size_t bytes) {
  FNN_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
}

}  // namespace fnn::cuda
