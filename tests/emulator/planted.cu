// Kernels with bugs planted on demand: planted <bug> runs all of them with that one and prints "correct", "wrong:
// <kernel>" or "reported: <what>". Each bug is one that real kernels have had.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cuda/fnn_cuda.h"

namespace {

enum class Bug {
  kNone,
  kNoBarrierBeforeRead,   // of what other warps wrote to shared memory
  kNoBarrierBeforeWrite,  // over what other warps may still read
  kReadsOneTooMany,
  kWritesOneTooMany,
  kSharedOverflow,
  kNoSyncwarp,
  kBlocksRace,
  kUninitialisedShared,
  kNoFence,
  kNoBarrierBeforeFlag,
  kNoWaitForCopies,
  kDivergentBarrier,
  kMisaligned,
};
constexpr const char* kNames[] = {"none",
                                  "no_barrier_before_read",
                                  "no_barrier_before_write",
                                  "reads_one_too_many",
                                  "writes_one_too_many",
                                  "shared_overflow",
                                  "no_syncwarp",
                                  "blocks_race",
                                  "uninitialised_shared",
                                  "no_fence",
                                  "no_barrier_before_flag",
                                  "no_wait_for_copies",
                                  "divergent_barrier",
                                  "misaligned"};

template <Bug kBug>
__device__ float block_sum(float value) {
  FNN_SHARED(float, parts, [32]);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  for (int offset = 16; offset; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  if (kBug != Bug::kNoBarrierBeforeWrite) __syncthreads();
  if (lane == 0) parts[warp] = value;
  if (kBug != Bug::kNoBarrierBeforeRead) __syncthreads();
  value = lane < warps || kBug == Bug::kUninitialisedShared ? parts[lane] : 0.0f;
  for (int offset = 16; offset; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  return value;
}

// y = (x - mean) of each row.
template <Bug kBug>
__global__ void center(const float* x, float* y, int cols) {
  x += blockIdx.x * cols;
  y += blockIdx.x * cols;
  const int count = kBug == Bug::kReadsOneTooMany ? cols + 1 : cols;
  float sum = 0.0f, rest = 0.0f;
  for (int i = threadIdx.x; i < count; i += blockDim.x) sum += x[i];
  const float mean = block_sum<kBug>(sum) / cols;
  if (kBug == Bug::kDivergentBarrier && threadIdx.x < 32) __syncthreads();
  for (int i = threadIdx.x; i < cols; i += blockDim.x) rest += x[i] - mean;
  rest = block_sum<kBug>(rest) / cols;  // what rounding left
  const int end = kBug == Bug::kWritesOneTooMany ? cols + 1 : cols;
  for (int i = threadIdx.x; i < end; i += blockDim.x) y[i] = x[i < cols ? i : 0] - mean - rest;
}

template <Bug kBug>
__global__ void transpose(const float* x, float* y, int n) {
  FNN_SHARED(float, tile, [16][17]);
  const int extra = kBug == Bug::kSharedOverflow && threadIdx.y == 15 ? 1 : 0;
  const int row = blockIdx.y * 16 + threadIdx.y, col = blockIdx.x * 16 + threadIdx.x;
  if (row < n && col < n) tile[threadIdx.y][threadIdx.x] = x[row * n + col];
  if (extra) (&tile[0][0])[16 * 17 + threadIdx.x] = 0.0f;
  __syncthreads();
  const int to_row = blockIdx.x * 16 + threadIdx.y, to_col = blockIdx.y * 16 + threadIdx.x;
  if (to_row < n && to_col < n) y[to_row * n + to_col] = tile[threadIdx.x][threadIdx.y];
}

// Running sums over a warp, in shared memory.
template <Bug kBug>
__global__ void scan(const int* x, int* y) {
  FNN_SHARED(int, sums, [32]);
  const int lane = threadIdx.x;
  sums[lane] = x[lane];
  for (int step = 1; step < 32; step *= 2) {
    if (kBug != Bug::kNoSyncwarp) __syncwarp();
    const int other = lane >= step ? sums[lane - step] : 0;
    if (kBug != Bug::kNoSyncwarp) __syncwarp();
    sums[lane] += other;
  }
  y[lane] = sums[lane];
}

template <Bug kBug>
__global__ void count(const int* values, int n, int* bins) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  if (kBug == Bug::kBlocksRace) {
    bins[values[i]] += 1;
  } else {
    atomicAdd(&bins[values[i]], 1);
  }
}

// The block that comes last adds what all have left.
template <Bug kBug>
__global__ void total(const float* x, float* partial, unsigned* ticket, float* sum) {
  FNN_SHARED(bool, last, [1]);
  const float value = block_sum<Bug::kNone>(x[blockIdx.x * blockDim.x + threadIdx.x]);
  if (threadIdx.x == (kBug == Bug::kNoBarrierBeforeFlag ? 33 : 0)) partial[blockIdx.x] = value;
  if (threadIdx.x == 0) {
    if (kBug != Bug::kNoFence) __threadfence();
    last[0] = atomicAdd(ticket, 1u) + 1 == gridDim.x;
  }
  __syncthreads();
  if (!last[0]) return;
  const float all = block_sum<Bug::kNone>(threadIdx.x < gridDim.x ? partial[threadIdx.x] : 0.0f);
  if (threadIdx.x == 0) *sum = all;
}

template <Bug kBug>
__global__ void staged(const float* x, float* y) {
  FNN_SHARED(float4, rows, [2][32]);
  const int lane = threadIdx.x;
  for (int stage = 0; stage < 2; ++stage) {
    __pipeline_memcpy_async(&rows[stage][lane], reinterpret_cast<const float4*>(x) + 32 * stage + lane, 16);
    __pipeline_commit();
  }
  __pipeline_wait_prior(kBug == Bug::kNoWaitForCopies ? 1 : 0);
  __syncthreads();
  float4 first = rows[0][31 - lane];
  if (kBug == Bug::kMisaligned && lane > 0) first = *reinterpret_cast<const float4*>(x + 4 * (31 - lane) + 1);
  y[lane] = first.x + rows[1][31 - lane].w;
}

// Memory of the exact size, so that AddressSanitizer sees what goes beyond.
template <class T>
std::unique_ptr<T[]> filled(int count, T (*value)(int)) {
  std::unique_ptr<T[]> memory(new T[static_cast<std::size_t>(count)]);
  for (int i = 0; i < count; ++i) memory[i] = value(i);
  return memory;
}

void conclude(const std::string& text) {
  std::puts(text.c_str());
  std::exit(text == "correct" ? 0 : 1);
}

void require(cudaError_t error) {
  if (error != cudaSuccess) conclude(std::string("reported: ") + cudaGetErrorString(error));
}

void expect(bool right, const char* kernel) {
  if (!right) conclude(std::string("wrong: ") + kernel);
}

template <Bug kBug>
void test_rows() {
  const int rows = 3, cols = 331;
  auto x = filled<float>(rows * cols, [](int i) { return static_cast<float>(i % 331 % 7 + i / 331); });
  auto y = filled<float>(rows * cols, [](int) { return 0.0f; });
  require(fnn::launch(center<kBug>, rows, 96, 0, nullptr, x.get(), y.get(), cols));
  for (int row = 0; row < rows; ++row) {
    double mean = 0;
    for (int i = 0; i < cols; ++i) mean += x[row * cols + i] / cols;
    for (int i = 0; i < cols; ++i) {
      expect(std::fabs(y[row * cols + i] - (x[row * cols + i] - mean)) < 1e-5, "center");
    }
  }
  const int n = 37;
  auto square = filled<float>(n * n, [](int i) { return static_cast<float>(i); });
  auto turned = filled<float>(n * n, [](int) { return 0.0f; });
  require(fnn::launch(transpose<kBug>, dim3(3, 3), dim3(16, 16), 0, nullptr, square.get(), turned.get(), n));
  for (int i = 0; i < n * n; ++i) expect(turned[i] == square[i % n * n + i / n], "transpose");
}

template <Bug kBug>
void test_integers() {
  auto ones = filled<int>(32, [](int) { return 1; });
  auto sums = filled<int>(32, [](int) { return 0; });
  require(fnn::launch(scan<kBug>, 1, 32, 0, nullptr, ones.get(), sums.get()));
  for (int i = 0; i < 32; ++i) expect(sums[i] == i + 1, "scan");
  auto values = filled<int>(500, [](int i) { return i % 5; });
  auto bins = filled<int>(5, [](int) { return 0; });
  require(fnn::launch(count<kBug>, 8, 64, 0, nullptr, values.get(), 500, bins.get()));
  for (int i = 0; i < 5; ++i) expect(bins[i] == 100, "count");
}

template <Bug kBug>
void test_sums() {
  auto x = filled<float>(512, [](int i) { return static_cast<float>(i % 3); });
  auto partial = filled<float>(8, [](int) { return 0.0f; });
  unsigned ticket = 0;
  float sum = 0;
  require(fnn::launch(total<kBug>, 8, 64, 0, nullptr, x.get(), partial.get(), &ticket, &sum));
  expect(sum == 511.0f, "total");
  float* from = nullptr;
  require(cudaMalloc(&from, 256 * sizeof(float)));
  for (int i = 0; i < 256; ++i) from[i] = static_cast<float>(i);
  auto to = filled<float>(32, [](int) { return 0.0f; });
  require(fnn::launch(staged<kBug>, 1, 32, 0, nullptr, from, to.get()));
  for (int i = 0; i < 32; ++i) expect(to[i] == 8.0f * (31 - i) + 131.0f, "staged");
  require(cudaFree(from));
}

template <Bug kBug>
void test_all() {
  test_rows<kBug>();
  test_integers<kBug>();
  test_sums<kBug>();
  conclude("correct");
}

template <int... kBugs>
void test_named(const char* name, std::integer_sequence<int, kBugs...>) {
  ((std::strcmp(name, kNames[kBugs]) == 0 ? test_all<static_cast<Bug>(kBugs)>() : void()), ...);
}

}  // namespace

int main(int count, char** words) {
  if (count == 2) test_named(words[1], std::make_integer_sequence<int, sizeof kNames / sizeof *kNames>());
  std::puts("usage: planted <bug>");
  return 2;
}
