#include "scheduler.h"

#include <cstdlib>
#include <mutex>
#include <utility>

#include "barriers.h"
#include "collectives.h"
#include "race.h"
#include "shared_memory.h"

namespace cuemu {
namespace {

constexpr std::size_t kSpinLimit = 1 << 20;  // yields in a row of threads that nobody else wakes

struct {
  Thread* current = nullptr;
  Block* loaded = nullptr;  // whose blockIdx is set
  Warp* favourite = nullptr;
  std::vector<Warp*> ready;  // warps with threads that may go on
  bool yielded = false;
  std::size_t spins = 0;
  std::uint64_t seed = 1, random = 1;
  std::string report, last_report;
} state;

void begin_run() {
  const char* text = std::getenv("CUEMU_SEED");
  state.seed = text ? std::strtoull(text, nullptr, 10) : 1;
  state.random = state.seed * 0x9E3779B97F4A7C15u + 1;
  state.report.clear();
  state.ready.clear();
  state.loaded = nullptr;
  state.favourite = nullptr;
  state.yielded = false;
  state.spins = 0;
  forget_accesses();
}

// What the first function of every fiber is.
void thread_main() {
  arrived_first();
  Thread& thread = *state.current;
  thread.block->launch->run(thread.block->launch->arguments);
  thread.state = State::kDone;
  Block& block = *thread.block;
  --block.alive;
  block.warp_of(thread).alive &= ~(1u << thread.lane());
  complete_meetings(block, thread.number / 32);
  complete_barrier(block);
  leave(thread, true);
  std::abort();
}

void start(Block& block, const Launch& launch, std::uint32_t number, std::size_t place) {
  block.launch = &launch;
  block.number = number;
  block.index = {static_cast<unsigned>(place % launch.grid.x),
                 static_cast<unsigned>(place / launch.grid.x % launch.grid.y),
                 static_cast<unsigned>(place / launch.grid.x / launch.grid.y)};
  const unsigned count = launch.block.x * launch.block.y * launch.block.z;
  block.threads.assign(count, {});
  block.warps.assign((count + 31) / 32, {});
  block.alive = static_cast<int>(count);
  block.waiting = 0;
  block.epoch = 0;
  for (unsigned i = 0; i < count; ++i) {
    Thread& thread = block.threads[i];
    thread.block = &block;
    thread.number = static_cast<int>(i);
    thread.index = {i % launch.block.x, i / launch.block.x % launch.block.y, i / launch.block.x / launch.block.y};
    block.warps[i / 32].alive |= 1u << i % 32;
  }
  allocate_dynamic(block, launch.shared_bytes);
  for (Thread& thread : block.threads) wake(thread);
}

void finish(Block& block) {
  for (Thread& thread : block.threads) {
    if (thread.stack) stacks().give_back(std::exchange(thread.stack, nullptr));
  }
  free_shared(block);
}

Thread& next_thread() {
  Warp* warp = state.favourite;
  const bool anyone = state.seed % 2 || !warp || warp->ready.empty();
  if (anyone) warp = state.ready[state.seed || state.yielded ? random_number() % state.ready.size() : 0];
  state.yielded = false;
  const std::size_t place = state.seed ? random_number() % warp->ready.size() : 0;
  Thread& thread = *warp->ready[place];
  warp->ready.erase(warp->ready.begin() + static_cast<std::ptrdiff_t>(place));
  if (warp->ready.empty()) {
    for (Warp*& other : state.ready) {
      if (other == warp) {
        other = state.ready.back();
        break;
      }
    }
    state.ready.pop_back();
  }
  state.favourite = warp;
  return thread;
}

void resume(Thread& thread) {
  if (state.loaded != thread.block) {
    state.loaded = thread.block;
    blockIdx = thread.block->index;
    blockDim = thread.block->launch->block;
    gridDim = thread.block->launch->grid;
  }
  if (thread.state == State::kNew) prepare(thread, stacks().take(), thread_main);
  thread.state = State::kReady;
  threadIdx = thread.index;
  state.current = &thread;
  enter(thread);
  state.current = nullptr;
}

void report_deadlock(const std::vector<Block>& blocks) {
  for (const Block& block : blocks) {
    for (const Thread& thread : block.threads) {
      if (block.alive == 0 || thread.state == State::kDone) continue;
      return report("deadlock: " + place_of(thread) +
                    (thread.state == State::kAtBarrier ? " waits in __syncthreads" : " waits in a warp collective"));
    }
  }
}

cudaError_t valid(const Launch& launch) {
  const dim3 &grid = launch.grid, &block = launch.block;
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64) return cudaErrorInvalidConfiguration;
  if (grid.x == 0 || grid.x > 0x7FFFFFFF || grid.y == 0 || grid.y > 65535 || grid.z == 0 || grid.z > 65535) {
    return cudaErrorInvalidConfiguration;
  }
  return cudaSuccess;
}

}  // namespace

Thread* current() { return state.current; }

Stacks& stacks() {
  static Stacks all;
  return all;
}

std::uint64_t seed() { return state.seed; }

std::uint32_t random_number() {
  state.random ^= state.random << 13;
  state.random ^= state.random >> 7;
  state.random ^= state.random << 17;
  return static_cast<std::uint32_t>(state.random >> 32);
}

void wake(Thread& thread) {
  if (thread.state != State::kNew) thread.state = State::kReady;
  state.spins = 0;
  Warp& warp = thread.block->warp_of(thread);
  if (warp.ready.empty()) state.ready.push_back(&warp);
  warp.ready.push_back(&thread);
}

void suspend(Thread& thread) { leave(thread, false); }

void yield() {
  Thread* thread = current();
  if (!thread) return;
  const std::size_t spins = state.spins + 1;
  if (spins > kSpinLimit) report("livelock: " + place_of(*thread) + " and all others only wait");
  state.favourite = nullptr;
  state.yielded = true;
  wake(*thread);
  state.spins = spins;
  suspend(*thread);
}

void maybe_yield() {
  if (random_number() % (state.seed ? 8 : 1024) == 0) yield();
}

void fence() {
  maybe_yield();
  if (current()) current()->fenced = true;
}

void report(const std::string& message) {
  if (state.report.empty()) state.report = message;
}

std::string place_of(const Thread& thread) {
  const auto written = [](uint3 index) {
    return "(" + std::to_string(index.x) + "," + std::to_string(index.y) + "," + std::to_string(index.z) + ")";
  };
  return "block " + written(thread.block->index) + " thread " + written(thread.index) + " line " +
         std::to_string(thread.line);
}

const std::string& last_report() { return state.last_report; }

cudaError_t run(const std::vector<const Launch*>& launches, std::size_t resident) {
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> alone(one_at_a_time);
  begin_run();
  std::vector<std::pair<const Launch*, std::size_t>> todo;
  for (const Launch* launch : launches) {
    if (const cudaError_t error = valid(*launch)) return error;
    const std::size_t count = std::size_t{launch->grid.x} * launch->grid.y * launch->grid.z;
    for (std::size_t place = 0; place < count; ++place) todo.push_back({launch, place});
  }
  if (state.seed) {
    for (std::size_t i = todo.size(); i > 1; --i) std::swap(todo[i - 1], todo[random_number() % i]);
  }
  std::vector<Block> blocks(resident && resident < todo.size() ? resident : todo.size());
  std::uint32_t next = 0;
  const auto start_next = [&](Block& block) {
    const auto [launch, place] = todo[next];
    start(block, *launch, next++, place);
  };
  for (Block& block : blocks) start_next(block);
  while (state.report.empty() && !state.ready.empty()) {
    Thread& thread = next_thread();
    Block& block = *thread.block;
    resume(thread);
    if (block.alive) continue;
    finish(block);
    state.loaded = nullptr;
    state.favourite = nullptr;
    if (next < todo.size()) start_next(block);
  }
  if (state.report.empty()) report_deadlock(blocks);
  for (Block& block : blocks) finish(block);
  if (state.report.empty()) return cudaSuccess;
  state.last_report = state.report + " (seed " + std::to_string(state.seed) + ")";
  return cudaErrorLaunchFailure;
}

}  // namespace cuemu
