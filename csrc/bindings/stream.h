// The stream that kernels are enqueued on.
#pragma once
#include "cuda/run.h"

namespace fnn::bindings {

// Of the calling thread: that of its innermost `use_stream`, else what the stream source says, else CUDA's default
// stream. Needs the GIL.
cudaStream_t current_stream();

}  // namespace fnn::bindings
