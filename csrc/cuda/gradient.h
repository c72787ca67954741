// What every backward pass with an activation and a bias begins with.
#pragma once
#include <cstdint>

#include "cuda/run.h"
#include "math/activations.h"

namespace fnn::cuda {

// dz = dy f'(saved) and, unless db is null, db (+)= the column sums of dz [rows, columns], in one pass. saved is y, or
// the pre-activation where the derivative needs it; not read for linear. dz may be dy.
void begin_backward(Activation activation, float alpha, const float* saved, const float* dy, float* dz, float* db,
                    std::int64_t rows, std::int64_t columns, bool accumulate, cudaStream_t stream);

}  // namespace fnn::cuda
