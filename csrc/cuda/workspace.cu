#include "cuda/error.h"
#include "cuda/workspace.h"

namespace fnn::cuda {

Workspace::Workspace(std::size_t bytes, cudaStream_t stream) : stream_(stream) {
  if (bytes > 0) FNN_CUDA_CHECK(cudaMallocAsync(&data_, bytes, stream));
}

Workspace::~Workspace() {
  if (data_ != nullptr) cudaFreeAsync(data_, stream_);  // an error of this is one of a kernel before, seen by the next
}

}  // namespace fnn::cuda
