// The end of sums that were taken in parts.
#pragma once
#include <cstdint>

#include "cuda/product_output.cuh"
#include "cuda/run.h"

namespace fnn::cuda {

// What `output` makes of parts[0] + parts[1] + ..., matrices [rows, columns] one behind the other, added in this order.
void sum_parts(const float* parts, std::int64_t part_count, std::int64_t rows, std::int64_t columns,
               const ActivatedOutput& output, cudaStream_t stream);

// to[i] (+)= parts[0][i] + parts[1][i] + ..., of `count` elements each.
inline void sum_parts(const float* parts, std::int64_t part_count, std::int64_t count, float* to, bool accumulate,
                      cudaStream_t stream) {
  sum_parts(parts, part_count, 1, count, {to, nullptr, nullptr, count, Activation::linear, 0.f, accumulate}, stream);
}

}  // namespace fnn::cuda
