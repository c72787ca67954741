// fnn::launch for the emulator, and kernels that run together.
#pragma once
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <vector>

#include "scheduler.h"

namespace cuemu {

// A kernel with its arguments.
struct Bound {
  Launch launch;
  std::shared_ptr<void> arguments;
};

// Checks the shared memory against what cudaFuncSetAttribute allowed for the kernel, and runs it or keeps it.
cudaError_t submit(const void* kernel, Bound bound, cudaStream_t stream);

// While one of these lives, launches are kept; run() runs all of them at the same time, as grids on several devices or
// streams would that wait for one another.
class Together {
 public:
  Together();
  ~Together();
  Together(const Together&) = delete;
  Together& operator=(const Together&) = delete;
  cudaError_t run();

 private:
  friend cudaError_t submit(const void*, Bound, cudaStream_t);
  std::vector<Bound> kept_;
};

}  // namespace cuemu

namespace fnn {

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                   Arguments&&... arguments) {
  using Values = std::tuple<std::decay_t<Parameters>...>;
  using Call = std::pair<void (*)(Parameters...), Values>;
  auto call = std::make_shared<Call>(kernel, Values(static_cast<Parameters>(static_cast<Arguments&&>(arguments))...));
  const auto run = [](void* given) {
    const Call& bound = *static_cast<const Call*>(given);
    std::apply(bound.first, bound.second);
  };
  cuemu::Bound bound{{run, call.get(), grid, block, shared_bytes}, call};
  return cuemu::submit(reinterpret_cast<const void*>(kernel), std::move(bound), stream);
}

}  // namespace fnn

// As nvcc's C++ interface has them: a kernel in place of a const void*.
template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
template <class... Parameters>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void (*kernel)(Parameters...), int threads,
                                                          std::size_t shared_bytes) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, reinterpret_cast<const void*>(kernel), threads,
                                                       shared_bytes);
}
