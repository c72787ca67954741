// Numbers that a framework's compiled program hands over in a GPU's memory, made what an optimizer's step reads.
#pragma once
#include <cstdint>

#include "cuda/run.h"

namespace fnn::cuda {

enum class NumberType : std::int32_t { float32, float64, int32, int64 };

// A number in the GPU's memory, or if `at` is null its value.
struct TracedNumber {
  const void* at;
  double value;
  NumberType type;
};

struct GatheredNumbers {
  double lr;
  std::int64_t t;
  float loss_scale;  // 1 / grad_scale
};

// Enqueues it; found_inf, which may be null, becomes 0.
void gather_numbers(cudaStream_t stream, const TracedNumber& lr, const TracedNumber& t, const TracedNumber& grad_scale,
                    GatheredNumbers* to, float* found_inf);
// Waits until the number is there.
double read_number(cudaStream_t stream, const TracedNumber& number);
// Enqueues a copy within the GPU's memory.
void copy_bytes(cudaStream_t stream, void* to, const void* from, std::size_t bytes);

}  // namespace fnn::cuda
