#include "launch.h"

#include "hidden_memory.h"
#include "runtime.h"
#include "shared_memory.h"

namespace cuemu {
namespace {

Together* collecting = nullptr;

}  // namespace

cudaError_t submit(const void* kernel, Bound bound, cudaStream_t) {
  const std::size_t allowed = dynamic_shared_allowed(kernel);
  if (bound.launch.shared_bytes > allowed) return remember(cudaErrorInvalidValue);
  if (collecting) {
    collecting->kept_.push_back(std::move(bound));
    return cudaSuccess;
  }
  const Revealed revealed;
  return remember(run({&bound.launch}, 1));
}

Together::Together() { collecting = this; }

Together::~Together() { collecting = nullptr; }

cudaError_t Together::run() {
  std::vector<const Launch*> launches;
  for (const Bound& bound : kept_) launches.push_back(&bound.launch);
  const Revealed revealed;
  const cudaError_t error = launches.empty() ? cudaSuccess : cuemu::run(launches, 0);
  kept_.clear();
  return remember(error);
}

}  // namespace cuemu
