// The threads, warps and blocks of running grids, and the order in which they run.
//
// CUEMU_SEED chooses the order. 0: blocks and threads in order. Even: one random warp runs as far as it can, which
// finds a missing barrier before a write. Odd (1 is the default): any ready thread comes next, which finds a missing
// barrier before a read and code that counts on the threads of a warp running in step. Except with 0, blocks come in
// any order.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fiber.h"

// What a kernel reads; they are set whenever a thread goes on.
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace cuemu {

struct Block;
struct Meeting;

struct Launch {
  void (*run)(void* arguments);  // the kernel, for one thread
  void* arguments;
  dim3 grid, block;
  std::size_t shared_bytes;
};

enum class State : std::uint8_t { kNew, kReady, kAtBarrier, kInMeeting, kDone };

struct PendingCopy {  // of a thread's asynchronous copies into shared memory
  void* to;
  const void* from;
  std::size_t size, zeros;
  int group;
};

struct Thread : Fiber {
  Block* block = nullptr;
  uint3 index{};
  int number = 0;  // in its block
  int line = 0;    // of the last barrier or collective that it called
  State state = State::kNew;
  bool fenced = false;  // a fence was its last deed but for reads: an atomic now makes what it wrote known
  int copy_groups = 0;
  std::vector<PendingCopy> copies;

  int lane() const { return number % 32; }
};

struct Warp {
  std::uint32_t alive = 0;  // lanes that have not ended
  std::uint32_t epoch = 0;  // counts __syncwarp
  std::vector<Meeting*> open;
  std::vector<Thread*> ready;
};

struct SharedArray {
  const void* place;  // the declaration that it belongs to
  unsigned char* data;
  std::size_t bytes;
};

struct Block {
  const Launch* launch = nullptr;
  uint3 index{};
  std::uint32_t number = 0;  // among all of the run
  int alive = 0, waiting = 0, barrier_line = 0;
  int votes[2] = {0, 0};    // sums of the values brought to the barrier, this one's and the last one's
  std::uint32_t epoch = 0;  // counts the barriers passed
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<SharedArray> shared;  // the first is the dynamic one

  Warp& warp_of(const Thread& thread) { return warps[thread.number / 32]; }
};

// The thread that runs; null in host code.
Thread* current();
Stacks& stacks();

std::uint64_t seed();
std::uint32_t random_number();

// The thread may go on.
void wake(Thread& thread);
// Gives the processor away; the caller has said who wakes the thread.
void suspend(Thread& thread);
// Another thread first: for loops that wait for what another block or grid does.
void yield();
// Now and then yield(): where another block may come in between.
void maybe_yield();
void fence();

// Ends the run with this message, or with an earlier one.
void report(const std::string& message);
// "block (0,0,0) thread (5,0,0) line 12"
std::string place_of(const Thread& thread);
// What the last run that failed said.
const std::string& last_report();

// Runs grids together, `resident` blocks at a time (0: all, for kernels that wait for one another).
cudaError_t run(const std::vector<const Launch*>& launches, std::size_t resident);

}  // namespace cuemu
