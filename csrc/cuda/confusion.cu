// True and false positives and negatives at each of some thresholds. A block has one threshold and one part of the
// outputs; the parts are added up in their order. That reads the outputs once for each threshold, mostly from the
// cache, but needs neither atomics on floats nor memory for bins.
#include "cpu/metrics.h"
#include "cuda/for_each.cuh"
#include "cuda/partial_sums.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

constexpr int64_t kMaxParts = 64;
constexpr int64_t kPartOutputs = 4096;  // that are worth a block

__device__ __host__ inline int64_t counted_columns(const cpu::ConfusionCounts& k) {
  return (k.cols - k.first + k.step - 1) / k.step;
}

// The block's sums of tp, fp, tn, fn into parts[threshold][part][4]. A NaN exceeds no threshold.
__global__ void __launch_bounds__(kSumThreads)
    count_outcomes(cpu::ConfusionCounts k, int64_t part_count, double* parts) {
  const int64_t across = counted_columns(k), count = k.rows * across;
  for (int64_t unit = blockIdx.x; unit < k.threshold_count * part_count; unit += gridDim.x) {
    const float threshold = k.thresholds[unit / part_count];
    double sums[4] = {};
    for (int64_t n = unit % part_count * kSumThreads + threadIdx.x; n < count; n += part_count * kSumThreads) {
      const int64_t row = n / across, i = row * k.cols + k.first + (n - row * across) * k.step;
      const double weight = k.weights == nullptr ? 1.0 : k.weights[row];
      const bool positive = k.targets[i] != 0.f, found = k.pred[i] > threshold;
      const int outcome = found ? (positive ? 0 : 1) : (positive ? 3 : 2);
#pragma unroll
      for (int o = 0; o < 4; ++o) sums[o] += o == outcome ? weight : 0.0;
    }
#pragma unroll
    for (int o = 0; o < 4; ++o) {
      const double sum = block_sum(sums[o]);
      if (threadIdx.x == 0) parts[unit * 4 + o] = sum;
    }
  }
}

// counts[outcome][threshold] += sum of the parts.
__global__ void add_outcomes(int64_t thresholds, int64_t part_count, const double* parts, double* counts) {
  for (int64_t i = first_index(); i < 4 * thresholds; i += index_stride()) {
    const int64_t outcome = i / thresholds, threshold = i % thresholds;
    double sum = 0;
    for (int64_t part = 0; part < part_count; ++part) sum += parts[(threshold * part_count + part) * 4 + outcome];
    counts[i] += sum;
  }
}

}  // namespace

template <>
void run(const cpu::ConfusionCounts& k, cudaStream_t stream) {
  const int64_t count = k.rows * counted_columns(k), thresholds = k.threshold_count;
  if (count == 0 || thresholds == 0) return;
  const int64_t wanted = (count + kPartOutputs - 1) / kPartOutputs,
                part_count = wanted < kMaxParts ? wanted : kMaxParts;
  const Workspace parts(static_cast<std::size_t>(thresholds * part_count) * 4 * sizeof(double), stream);
  FNN_CUDA_CHECK(launch(count_outcomes, blocks_for(thresholds * part_count, 1), kSumThreads, 0, stream, k, part_count,
                        parts.as<double>()));
  FNN_CUDA_CHECK(launch(add_outcomes, blocks_for(4 * thresholds), kThreads, 0, stream, thresholds, part_count,
                        parts.as<double>(), k.counts));
}

}  // namespace fnn::cuda
