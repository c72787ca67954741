// The end of sums that were taken in parts.
#pragma once
#include <cstdint>

#include "cuda/run.h"

namespace fnn::cuda {

// to[i] (+)= parts[0][i] + parts[1][i] + ..., of `count` elements each, in this order.
void sum_parts(const float* parts, std::int64_t part_count, std::int64_t count, float* to, bool accumulate,
               cudaStream_t stream);

}  // namespace fnn::cuda
