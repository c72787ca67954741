// Batch normalization: sums over the rows by stripes of channels (cuda/column_sums.cuh), what they come to for each
// channel, and a pass over the elements. x is read twice, and dy too in the backward pass.
#include "cpu/batch_norm.h"
#include "cuda/column_sums.cuh"
#include "math/normalization.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

// Distances from the first row: sums of raw squares would cancel where the mean is large.
template <int kWidth>
struct Distances {
  const float* x;
  int64_t channels;

  __device__ void add(int64_t row, int64_t channel, PairSums<kWidth>& sums) const {
    const auto origin = load_channels<kWidth>(x + channel), value = load_channels<kWidth>(x + row * channels + channel);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      const double distance = static_cast<double>(value.at[k]) - static_cast<double>(origin.at[k]);
      sums.first[k] += distance;
      sums.second[k] += distance * distance;
    }
  }
};

template <int kWidth>
struct Slopes {
  const float *x, *dy, *mean;
  int64_t channels;

  __device__ void add(int64_t row, int64_t channel, PairSums<kWidth>& sums) const {
    const int64_t at = row * channels + channel;
    const auto value = load_channels<kWidth>(x + at), grad = load_channels<kWidth>(dy + at);
    const auto center = load_channels<kWidth>(mean + channel);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      sums.first[k] += grad.at[k];
      sums.second[k] += grad.at[k] * (value.at[k] - center.at[k]);
    }
  }
};

__global__ void __launch_bounds__(kThreads)
    finish_forward(cpu::BatchNormForward k, const double* parts, int64_t part_count) {
  for (int64_t j = first_index(); j < k.channels; j += index_stride()) {
    const ColumnSums sums(parts, part_count, k.channels, j);
    const double count = static_cast<double>(k.rows > 0 ? k.rows : 1), shift = sums.first / count;
    const double mean = k.rows > 0 ? k.x[j] + shift : 0.0, squares = sums.second - sums.first * shift;
    const double variance = (squares < 0.0 ? 0.0 : squares) / count;
    k.mean[j] = static_cast<float>(mean);
    k.inv_std[j] = inverse_deviation(variance, k.eps);
    if (k.rows == 0) continue;
    k.moving_mean[j] = moving_average(k.moving_mean[j], mean, k.momentum);
    k.moving_variance[j] = moving_average(k.moving_variance[j], variance, k.momentum);
  }
}

// factors: the gradient's scale, mean of dy and slope, [3][channels].
__global__ void __launch_bounds__(kThreads) finish_backward(cpu::BatchNormBackward k, bool accumulate,
                                                            const double* parts, int64_t part_count, float* factors) {
  for (int64_t j = first_index(); j < k.channels; j += index_stride()) {
    const ColumnSums sums(parts, part_count, k.channels, j);
    const double count = static_cast<double>(k.rows > 0 ? k.rows : 1);
    const float slope = static_cast<float>(sums.second * k.inv_std[j]), gamma = k.gamma == nullptr ? 1.f : k.gamma[j];
    if (k.dgamma != nullptr) k.dgamma[j] = (accumulate ? k.dgamma[j] : 0.f) + slope;
    if (k.dbeta != nullptr) k.dbeta[j] = (accumulate ? k.dbeta[j] : 0.f) + static_cast<float>(sums.first);
    factors[j] = gamma * k.inv_std[j];
    factors[k.channels + j] = static_cast<float>(sums.first / count);
    factors[2 * k.channels + j] = normalized_slope(sums.second, count, k.inv_std[j]);
  }
}

// Calls body(k, element, channel) for kWidth elements that this thread has, and writes what it makes of them.
template <int kWidth, class Body>
__device__ inline void for_elements(int64_t rows, int64_t channels, float* y, const Body& body) {
  const int64_t packs = channels / kWidth;
  for (int64_t item = first_index(); item < rows * packs; item += index_stride())
    store_channels(y + item * kWidth, body(item * kWidth, item % packs * kWidth));
}

template <int kWidth>
__device__ inline Channels<float, kWidth> load_or(const float* values, int64_t channel, float otherwise) {
  Channels<float, kWidth> result;
  if (values != nullptr) return load_channels<kWidth>(values + channel);
  for (float& v : result.at) v = otherwise;
  return result;
}

// y = (x - mean) gamma inv_std + beta
template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    normalize(const float* x, const float* mean, const float* inv_std, const float* gamma, const float* beta, float* y,
              int64_t rows, int64_t channels) {
  for_elements<kWidth>(rows, channels, y, [&](int64_t at, int64_t channel) {
    auto value = load_channels<kWidth>(x + at);
    const auto center = load_or<kWidth>(mean, channel, 0.f), scale = load_or<kWidth>(gamma, channel, 1.f);
    const auto offset = load_or<kWidth>(beta, channel, 0.f), spread = load_channels<kWidth>(inv_std + channel);
#pragma unroll
    for (int k = 0; k < kWidth; ++k)
      value.at[k] = normalized(value.at[k], center.at[k], scale.at[k] * spread.at[k], offset.at[k]);
    return value;
  });
}

__global__ void __launch_bounds__(kThreads)
    inverse_deviations(const float* variance, float* inv_std, int64_t channels, double eps) {
  for (int64_t j = first_index(); j < channels; j += index_stride()) inv_std[j] = inverse_deviation(variance[j], eps);
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    input_gradient(const float* x, const float* dy, const float* mean, const float* factors, float* dx, int64_t rows,
                   int64_t channels) {
  for_elements<kWidth>(rows, channels, dx, [&](int64_t at, int64_t channel) {
    const auto value = load_channels<kWidth>(x + at), center = load_channels<kWidth>(mean + channel);
    const auto scale = load_channels<kWidth>(factors + channel);
    const auto mean_dy = load_channels<kWidth>(factors + channels + channel);
    const auto slope = load_channels<kWidth>(factors + 2 * channels + channel);
    auto grad = load_channels<kWidth>(dy + at);
#pragma unroll
    for (int k = 0; k < kWidth; ++k)
      grad.at[k] = normalized_gradient(value.at[k], grad.at[k], center.at[k], scale.at[k], mean_dy.at[k], slope.at[k]);
    return grad;
  });
}

}  // namespace

template <>
void run(const cpu::BatchNormForward& k, cudaStream_t stream) {
  if (k.channels == 0) return;
  with_width(k.channels, true, {k.x, k.y, k.gamma, k.beta, k.mean, k.inv_std}, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    const ColumnParts grid(k.rows, k.channels, kWidth);
    const Workspace parts(grid.bytes(), stream);
    run_column_sums<kWidth>(Distances<kWidth>{k.x, k.channels}, grid, parts.as<double>(), stream);
    FNN_CUDA_CHECK(
        launch(finish_forward, blocks_for(k.channels), kThreads, 0, stream, k, parts.as<double>(), grid.parts));
    if (k.rows == 0) return;
    FNN_CUDA_CHECK(launch(normalize<kWidth>, blocks_for(k.rows * k.channels / kWidth), kThreads, 0, stream, k.x, k.mean,
                          k.inv_std, k.gamma, k.beta, k.y, k.rows, k.channels));
  });
}

template <>
void run(const cpu::BatchNormInference& k, cudaStream_t stream) {
  if (k.rows * k.channels == 0) return;
  const Workspace inv_std(static_cast<std::size_t>(k.channels) * sizeof(float), stream);
  FNN_CUDA_CHECK(launch(inverse_deviations, blocks_for(k.channels), kThreads, 0, stream, k.variance,
                        inv_std.as<float>(), k.channels, k.eps));
  with_width(k.channels, true, {k.x, k.y, k.gamma, k.beta, k.mean}, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    FNN_CUDA_CHECK(launch(normalize<kWidth>, blocks_for(k.rows * k.channels / kWidth), kThreads, 0, stream, k.x, k.mean,
                          inv_std.as<float>(), k.gamma, k.beta, k.y, k.rows, k.channels));
  });
}

template <>
void run(const cpu::BatchNormBackward& k, cudaStream_t stream) {
  if (k.channels == 0) return;
  with_width(k.channels, true, {k.x, k.dy, k.dx, k.mean}, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    const ColumnParts grid(k.rows, k.channels, kWidth);
    const Workspace parts(grid.bytes(), stream);
    const Workspace factors(static_cast<std::size_t>(3 * k.channels) * sizeof(float), stream);
    run_column_sums<kWidth>(Slopes<kWidth>{k.x, k.dy, k.mean, k.channels}, grid, parts.as<double>(), stream);
    FNN_CUDA_CHECK(launch(finish_backward, blocks_for(k.channels), kThreads, 0, stream, k, bool{k.accumulate},
                          parts.as<double>(), grid.parts, factors.as<float>()));
    if (k.dx == nullptr || k.rows == 0) return;
    FNN_CUDA_CHECK(launch(input_gradient<kWidth>, blocks_for(k.rows * k.channels / kWidth), kThreads, 0, stream, k.x,
                          k.dy, k.mean, factors.as<float>(), k.dx, k.rows, k.channels));
  });
}

}  // namespace fnn::cuda
