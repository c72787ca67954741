// What becomes of the sums of a matrix product: C (+)= f(sum + bias).
#pragma once
#include "cuda/channels.cuh"
#include "math/activations.h"

namespace fnn::cuda {

struct ActivatedOutput {
  float* c;
  float* z;  // sum + bias is kept here, unless null, laid out as C
  const float* bias;
  std::int64_t line;  // floats from row to row
  Activation activation;
  float alpha;
  bool accumulate;

  // kWidth neighbours of a row, which may be loaded and stored at once.
  template <int kWidth>
  __device__ void finish(std::int64_t row, std::int64_t column, const float* sums) const {
    auto values = load_channels<kWidth>(sums);
    if (bias != nullptr)
      for (int i = 0; i < kWidth; ++i) values.at[i] += bias[column + i];
    const std::int64_t at = row * line + column;
    if (z != nullptr) store_channels(z + at, values);
    with_activation(activation, alpha, [&](auto f) {
      for (int i = 0; i < kWidth; ++i) values.at[i] = f.value(values.at[i]);
    });
    if (accumulate) {
      const auto before = load_channels<kWidth>(c + at);
      for (int i = 0; i < kWidth; ++i) values.at[i] += before.at[i];
    }
    store_channels(c + at, values);
  }
};

}  // namespace fnn::cuda
