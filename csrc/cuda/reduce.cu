// Reductions over an array: the penalty of a regularizer, the place of the first NaN or infinity.
#include <algorithm>

#include "cpu/reduce.h"
#include "cuda/for_each.cuh"
#include "cuda/reduce.cuh"
#include "cuda/workspace.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

// Blocks of the first pass, each of which leaves one result to the second pass, that of one block.
unsigned first_pass_blocks(int64_t count) {
  return std::min(static_cast<unsigned>(kThreads), blocks_for((count + kPack - 1) / kPack));
}

// sums[block] = l1 * sum |p| + l2 * sum p^2 over its share
__global__ void __launch_bounds__(kThreads)
    penalty_sums(const float* param, int64_t count, double l1, double l2, double* sums, bool whole) {
  double absolute = 0, square = 0;
  for (int64_t i = first_index() * kPack; i < count; i += index_stride() * kPack) {
    const Pack pack = load_pack(param + i, count - i, whole);
    for (float p : pack.v) {
      absolute += abs(p);
      square += double{p} * p;
    }
  }
  // A term without a factor is left out: 0 * inf would be NaN.
  const double sum = block_sum((l1 != 0 ? l1 * absolute : 0) + (l2 != 0 ? l2 * square : 0));
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) add_penalty(const double* sums, unsigned count, double* loss) {
  const double sum = block_sum(threadIdx.x < count ? sums[threadIdx.x] : 0);
  if (threadIdx.x == 0) *loss += sum;
}

struct Smallest {
  template <class T>
  static __device__ T identity() {
    return INT64_MAX;
  }
  __device__ int64_t operator()(int64_t a, int64_t b) const { return a < b ? a : b; }
};

// found[block] = smallest i of its share with x[i] NaN or infinite, INT64_MAX if there is none
__global__ void __launch_bounds__(kThreads) find_nonfinite(const float* x, int64_t count, int64_t* found, bool whole) {
  int64_t first = INT64_MAX;
  for (int64_t i = first_index() * kPack; i < count && first == INT64_MAX; i += index_stride() * kPack) {
    const Pack pack = load_pack(x + i, count - i, whole);
    for (int j = kPack - 1; j >= 0; --j)
      if ((as_int(pack.v[j]) & 0x7f800000) == 0x7f800000) first = i + j;
  }
  first = block_reduce(first, Smallest());
  if (threadIdx.x == 0) found[blockIdx.x] = first;
}

__global__ void __launch_bounds__(kThreads) smallest_of(const int64_t* found, unsigned count, int64_t* first) {
  const int64_t mine = threadIdx.x < count ? found[threadIdx.x] : INT64_MAX;
  const int64_t smallest = block_reduce(mine, Smallest());
  if (threadIdx.x == 0) *first = smallest == INT64_MAX ? -1 : smallest;
}

}  // namespace

template <>
void run(const cpu::RegularizationPenalty& kernel, cudaStream_t stream) {
  if (kernel.count == 0) return;
  const unsigned blocks = first_pass_blocks(kernel.count);
  const Workspace sums(blocks * sizeof(double), stream);
  FNN_CUDA_CHECK(launch(penalty_sums, blocks, kThreads, 0, stream, kernel.param, kernel.count, kernel.l1, kernel.l2,
                        sums.as<double>(), aligned(kernel.param)));
  FNN_CUDA_CHECK(launch(add_penalty, 1, kThreads, 0, stream, sums.as<double>(), blocks, kernel.loss));
}

// Unlike everything else, `first` lies on the host: this waits for the result, and so can't be captured.
template <>
void run(const cpu::FirstNonfinite& kernel, cudaStream_t stream) {
  *kernel.first = -1;
  if (kernel.count == 0) return;
  const unsigned blocks = first_pass_blocks(kernel.count);
  const Workspace found((blocks + 1) * sizeof(int64_t), stream);
  int64_t* const each = found.as<int64_t>();
  FNN_CUDA_CHECK(launch(find_nonfinite, blocks, kThreads, 0, stream, kernel.x, kernel.count, each, aligned(kernel.x)));
  FNN_CUDA_CHECK(launch(smallest_of, 1, kThreads, 0, stream, each, blocks, each + blocks));
  FNN_CUDA_CHECK(cudaMemcpyAsync(kernel.first, each + blocks, sizeof(int64_t), cudaMemcpyDeviceToHost, stream));
  FNN_CUDA_CHECK(cudaStreamSynchronize(stream));
}

}  // namespace fnn::cuda
