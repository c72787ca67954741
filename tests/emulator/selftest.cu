// The emulator's own test: collectives, votes, atomics, copies, reports of divergence and deadlock, grids that wait for
// one another, the runtime's stand-ins. Prints "selftest ok".
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "cuda/async_copy.cuh"
#include "cuda/fnn_cuda.h"

namespace {

#define REQUIRE(condition)                                                      \
  do {                                                                          \
    if (!(condition)) {                                                         \
      std::printf("%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                             \
    }                                                                           \
  } while (0)

__global__ void collectives(int* right) {
  const int lane = threadIdx.x % 32;
  const unsigned all = ~0u;
  bool ok = __shfl_down_sync(all, lane, 4) == (lane + 4 < 32 ? lane + 4 : lane);
  ok &= __shfl_up_sync(all, lane, 1) == (lane ? lane - 1 : 0);
  ok &= __shfl_sync(all, lane, 7) == 7;
  ok &= __shfl_sync(all, lane, 1, 8) == lane / 8 * 8 + 1;
  ok &= __shfl_xor_sync(all, lane, 3, 8) == (lane ^ 3);
  ok &= __ballot_sync(all, lane % 3 == 0) == 0x49249249u;
  ok &= __any_sync(all, lane == 31) && !__any_sync(all, 0) && __all_sync(all, 1) && !__all_sync(all, lane != 5);
  ok &=
      __reduce_add_sync(all, lane) == 496 && __reduce_max_sync(all, -lane) == 0 && __reduce_min_sync(all, -lane) == -31;
  ok &= __shfl_sync(all, double(lane), 9) == 9.0;
  if (lane < 16) {
    ok &= __shfl_xor_sync(0xffffu, lane, 1) == (lane ^ 1);
  } else {
    ok &= __shfl_xor_sync(0xffff0000u, lane, 2) == (lane ^ 2);
  }
  ok &= __syncthreads_count(lane == 0) == 3 && __syncthreads_or(threadIdx.x == 95) && !__syncthreads_and(lane);
  right[threadIdx.x] = ok;
}

__global__ void histogram(const int* values, int count, int* bins) {
  FNN_SHARED(int, mine, [16]);
  if (threadIdx.x < 16) mine[threadIdx.x] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
    atomicAdd(&mine[values[i]], 1);
  __syncthreads();
  if (threadIdx.x < 16) atomicAdd(bins + threadIdx.x, mine[threadIdx.x]);
}

__global__ void poison(int* right) {
  FNN_SHARED(float, fixed, [64]);
  FNN_DYN_SHARED(float, dynamic);
  right[blockIdx.x * blockDim.x + threadIdx.x] =
      fixed[threadIdx.x] != fixed[threadIdx.x] && dynamic[threadIdx.x] != dynamic[threadIdx.x];
}

__global__ void early_exit(int* right) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  if (threadIdx.x < 32) __syncwarp();
  right[threadIdx.x] = 1;
}

__global__ void diverge() {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void half_warp(int* out) {
  if (threadIdx.x < 16) {
    *out = __shfl_xor_sync(~0u, 1, 1);
  } else {
    __syncwarp();
  }
}
__global__ void outside_mask() { __syncwarp(0xffffu); }
__global__ void wait_forever(int* flag) {
  if (threadIdx.x == 0) {
    while (atomicAdd(flag, 0) == 0) __nanosleep(20);
  }
}

__global__ void copies(const float* from, float* to) {
  FNN_SHARED(float, staged, [2][32]);
  const int lane = threadIdx.x;
  for (int stage = 0; stage < 2; ++stage) {
    if (lane % 4 == 0)
      __pipeline_memcpy_async(&staged[stage][lane], from + 32 * stage + lane, 16, stage == 1 && lane == 0 ? 8 : 0);
    __pipeline_commit();
  }
  __pipeline_wait_prior(1);
  __syncthreads();
  to[lane] = staged[0][31 - lane];
  __pipeline_wait_prior(0);
  __syncthreads();
  to[32 + lane] = staged[1][lane];
}

// Of GPUs without asynchronous copies. Lane 0's are absent, and point nowhere.
__global__ void plain_copies(const float* from, float* to) {
  FNN_SHARED(float4, staged, [32]);
  const int lane = threadIdx.x;
  float* const own = &staged[lane].x;
  fnn::cuda::copy_now<16>(own, lane == 0 ? nullptr : from + 4 * lane, lane != 0);
  __syncthreads();
  fnn::cuda::copy_now<4>(own + 1, lane == 0 ? nullptr : from + lane, lane != 0);
  for (int i = 0; i < 4; ++i) to[4 * lane + i] = own[i];
}

// A ring over peer memory: rank r writes what it has into the next rank's box and waits for its own flag.
struct Ring {
  float* box[4];
  int* flag[4];
  float* sum[4];
};
__global__ void ring(Ring all, int rank, int ranks) {
  const int next = (rank + 1) % ranks;
  for (int step = 0; step + 1 < ranks; ++step) {
    if (threadIdx.x == 0) {
      all.box[next][step] = step ? all.box[rank][step - 1] : float(rank + 1);
      __threadfence_system();
      atomicExch(all.flag[next], step + 1);
      while (atomicAdd(all.flag[rank], 0) < step + 1) __nanosleep(20);
    }
    __syncthreads();
  }
  if (threadIdx.x) return;
  float sum = float(rank + 1);
  for (int step = 0; step + 1 < ranks; ++step) sum += all.box[rank][step];
  *all.sum[rank] = sum;
}

__global__ void rows_of_blocks(dim3* seen) {
  if (threadIdx.x == 1 && threadIdx.y == 2)
    seen[blockIdx.z * 6 + blockIdx.y * 3 + blockIdx.x] = {blockIdx.x, blockIdx.y, blockIdx.z};
}

// Every block leaves a sum; the block that comes last adds them.
__global__ void last_block(const float* values, float* partial, unsigned* ticket, float* total) {
  FNN_SHARED(bool, is_last, [1]);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = values[blockIdx.x];
    __threadfence();
    is_last[0] = atomicAdd(ticket, 1u) + 1 == gridDim.x;
  }
  __syncthreads();
  if (!is_last[0]) return;
  const float mine = threadIdx.x < gridDim.x ? partial[threadIdx.x] : 0.0f;
  const float sum = __reduce_add_sync(~0u, int(mine));
  if (threadIdx.x == 0) *total = sum;
}

bool all_ones(const std::vector<int>& values) {
  for (const int value : values) {
    if (value != 1) return false;
  }
  return true;
}

// That a launch failed and that the report holds `words`.
bool reported(cudaError_t error, const std::string& words) {
  const std::string text = cudaGetErrorString(error);
  return error == cudaErrorLaunchFailure && cudaGetLastError() == error && text.find(words) != std::string::npos;
}

void test_collectives() {
  std::vector<int> right(96);
  REQUIRE(fnn::launch(collectives, 1, 96, 0, nullptr, right.data()) == cudaSuccess);
  REQUIRE(all_ones(right));
  std::vector<int> exits(40);
  REQUIRE(fnn::launch(early_exit, 1, 96, 0, nullptr, exits.data()) == cudaSuccess);
  REQUIRE(all_ones(exits));
}

void test_memory() {
  std::vector<int> values(1000), bins(16), right(64);
  for (int i = 0; i < 1000; ++i) values[i] = i % 16;
  REQUIRE(fnn::launch(histogram, 3, 64, 0, nullptr, values.data(), 1000, bins.data()) == cudaSuccess);
  for (int i = 0; i < 16; ++i) REQUIRE(bins[i] == (i < 8 ? 63 : 62));
  REQUIRE(fnn::launch(poison, 2, 32, 32 * sizeof(float), nullptr, right.data()) == cudaSuccess);
  REQUIRE(all_ones(right));
  alignas(16) float from[64], to[64];
  for (int i = 0; i < 64; ++i) from[i] = float(i);
  REQUIRE(fnn::launch(copies, 1, 32, 0, nullptr, from, to) == cudaSuccess);
  for (int i = 0; i < 32; ++i)
    REQUIRE(to[i] == float(31 - i) && to[32 + i] == (i == 2 || i == 3 ? 0.0f : float(32 + i)));
  float many[128], copied[128];
  for (int i = 0; i < 128; ++i) many[i] = float(i + 1);
  REQUIRE(fnn::launch(plain_copies, 1, 32, 0, nullptr, many, copied) == cudaSuccess);
  for (int i = 0; i < 128; ++i) REQUIRE(copied[i] == (i < 4 ? 0.0f : i % 4 == 1 ? many[i / 4] : many[i]));
}

void test_reports(bool in_order) {
  int out = 0;
  if (!in_order) REQUIRE(reported(fnn::launch(diverge, 1, 64, 0, nullptr), "divergent __syncthreads"));
  REQUIRE(reported(fnn::launch(half_warp, 1, 32, 0, nullptr, &out), "deadlock"));
  REQUIRE(reported(fnn::launch(outside_mask, 1, 32, 0, nullptr), "outside its mask"));
  REQUIRE(reported(fnn::launch(wait_forever, 1, 32, 0, nullptr, &out), "livelock"));
}

void test_limits() {
  std::vector<int> right(32);
  REQUIRE(fnn::launch(rows_of_blocks, 1, 32, 49153, nullptr, nullptr) == cudaErrorInvalidValue);
  REQUIRE(fnn::launch(poison, 1, 1025, 0, nullptr, nullptr) == cudaErrorInvalidConfiguration);
  REQUIRE(fnn::launch(poison, 0, 32, 0, nullptr, nullptr) == cudaErrorInvalidConfiguration);
  REQUIRE(fnn::launch(poison, dim3(1, 65536), 32, 0, nullptr, nullptr) == cudaErrorInvalidConfiguration);
  REQUIRE(cudaFuncSetAttribute(poison, cudaFuncAttributeMaxDynamicSharedMemorySize, 40000) == cudaSuccess);
  REQUIRE(fnn::launch(poison, 1, 32, 50000, nullptr, right.data()) == cudaErrorInvalidValue);
  REQUIRE(cudaFuncSetAttribute(poison, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000) == cudaSuccess);
  REQUIRE(fnn::launch(poison, 1, 32, 50000, nullptr, right.data()) == cudaSuccess);
  REQUIRE(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
}

void test_grids_together() {
  float box[4][4] = {}, sum[4] = {};
  int flag[4] = {};
  Ring all;
  for (int rank = 0; rank < 4; ++rank) {
    all.box[rank] = box[rank];
    all.flag[rank] = flag + rank;
    all.sum[rank] = sum + rank;
  }
  cuemu::Together together;
  for (int rank = 0; rank < 4; ++rank) REQUIRE(fnn::launch(ring, 1, 64, 0, nullptr, all, rank, 4) == cudaSuccess);
  REQUIRE(together.run() == cudaSuccess);
  for (const float value : sum) REQUIRE(value == 10.0f);
}

void test_last_block() {
  float values[5] = {1, 2, 3, 4, 5}, partial[5], total = 0;
  unsigned ticket = 0;
  REQUIRE(fnn::launch(last_block, 5, 32, 0, nullptr, values, partial, &ticket, &total) == cudaSuccess);
  REQUIRE(total == 15.0f);
}

void test_grid() {
  dim3 seen[12];
  REQUIRE(fnn::launch(rows_of_blocks, dim3(3, 2, 2), dim3(4, 3), 0, nullptr, seen) == cudaSuccess);
  for (unsigned i = 0; i < 12; ++i) REQUIRE(seen[i].x == i % 3 && seen[i].y == i / 3 % 2 && seen[i].z == i / 6);
}

void test_memory_of_processes() {
  int *memory = nullptr, *opened = nullptr;
  cudaIpcMemHandle_t handle;
  REQUIRE(cudaMalloc(reinterpret_cast<void**>(&memory), 4096) == cudaSuccess && memory[1023] == -1);
  REQUIRE(cudaIpcGetMemHandle(&handle, memory) == cudaSuccess);
  REQUIRE(cudaIpcOpenMemHandle(reinterpret_cast<void**>(&opened), handle, 0) != cudaSuccess);  // its own
  const pid_t child = fork();
  if (child == 0) {
    const bool is_open = cudaIpcOpenMemHandle(reinterpret_cast<void**>(&opened), handle, 0) == cudaSuccess;
    if (is_open) opened[7] = 42;
    _exit(is_open && cudaIpcCloseMemHandle(opened) == cudaSuccess ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child && status == 0 && memory[7] == 42);
  REQUIRE(cudaFree(memory) == cudaSuccess && cudaGetLastError() != cudaSuccess);
}

void test_runtime() {
  int* memory = nullptr;
  REQUIRE(cudaMallocAsync(&memory, 40, nullptr) == cudaSuccess && memory[9] == -1);
  REQUIRE(cudaMemsetAsync(memory, 0, 40, nullptr) == cudaSuccess && memory[9] == 0);
  const int one = 1;
  REQUIRE(cudaMemcpyAsync(memory, &one, 4, cudaMemcpyHostToDevice, nullptr) == cudaSuccess && memory[0] == 1);
  REQUIRE(cudaFreeAsync(memory, nullptr) == cudaSuccess && cudaFree(memory) == cudaErrorInvalidValue);
  int count = 0, processors = 0, blocks = 0;
  REQUIRE(cudaGetDeviceCount(&count) == cudaSuccess && count > 0);
  REQUIRE(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess && processors > 0);
  REQUIRE(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, ring, 256, 0) == cudaSuccess && blocks == 8);
  cudaEvent_t start, end;
  float milliseconds = -1;
  REQUIRE(cudaEventCreate(&start) == cudaSuccess && cudaEventCreate(&end) == cudaSuccess);
  REQUIRE(cudaEventRecord(start) == cudaSuccess && cudaEventRecord(end) == cudaSuccess);
  REQUIRE(cudaEventElapsedTime(&milliseconds, start, end) == cudaSuccess && milliseconds >= 0);
  REQUIRE(cudaEventDestroy(start) == cudaSuccess && cudaEventDestroy(end) == cudaSuccess);
  cudaGetLastError();
}

}  // namespace

int main() {
  for (const char* seed : {"0", "1", "2", "3", "4"}) {
    setenv("CUEMU_SEED", seed, 1);
    test_collectives();
    test_memory();
    test_reports(seed[0] == '0');
    test_limits();
    test_grids_together();
    test_last_block();
    test_grid();
    test_runtime();
    test_memory_of_processes();
    test_memory_of_processes();
  }
  std::puts("selftest ok");
}
