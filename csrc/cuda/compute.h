// What the products of matrix multiplication and convolution are made of, on a device.
//
// Arrays are float32 and sums are float32 whatever this says; it is the operands of each product that are rounded, to
// the nearest value, on their way to the tensor cores. float32 doesn't use those.
#pragma once
#include <atomic>

namespace fnn::cuda {

enum class Compute : int {
  float32,   // fused multiply-add of float32
  tf32,      // 8 bits of exponent, 10 of mantissa
  bfloat16,  // 8 and 7
  float16,   // 5 and 10: operands beyond 65504 become infinite
};

inline constexpr int kComputeCount = 4;
inline constexpr const char* kComputeNames[kComputeCount] = {"float32", "tf32", "bfloat16", "float16"};

// Of the process; kernels that are launched from now on, and not those in a graph captured before, follow it.
inline std::atomic<Compute> compute_setting{Compute::float32};
inline Compute compute() { return compute_setting.load(std::memory_order_relaxed); }
inline void set_compute(Compute compute) { compute_setting.store(compute, std::memory_order_relaxed); }

}  // namespace fnn::cuda
