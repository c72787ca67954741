// Reading a number back from the GPU.
#pragma once

#include "cuda/run.h"

namespace fnn::cuda {

// *number when all that was enqueued before has run, which this waits for.
double value_of(const double* number, cudaStream_t stream);

}  // namespace fnn::cuda
