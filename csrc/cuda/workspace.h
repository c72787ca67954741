// Memory on the GPU for the temporary values of a kernel.
#pragma once
#include <cstddef>

#include "cuda/run.h"

namespace fnn::cuda {

// Lives in the order of a stream: allocated when what is enqueued before has run, free for others when what is enqueued
// until the end of this object's life has run. May be captured in a graph, which then owns the memory.
class Workspace {
 public:
  Workspace(std::size_t bytes, cudaStream_t stream);
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace();

  // Aligned to 256 bytes; null if none were asked for.
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  cudaStream_t stream_;
};

}  // namespace fnn::cuda
