#include "base/thread_team.h"

#include <pthread.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "base/barrier.h"
#include "base/error.h"
#include "base/memory_block.h"

namespace fnn {

struct ThreadTeam::State {
  explicit State(int threads)
      : spin(threads <= static_cast<int>(std::thread::hardware_concurrency())),
        blocks(threads),
        barrier(spin),
        arenas(threads) {}

  const bool spin;

  // The job. Written before `epoch` is published and left alone until every thread that takes part has finished.
  ThreadTeam::Body body = nullptr;
  const void* kernel = nullptr;
  std::byte* shared_block = nullptr;
  std::vector<std::byte*> blocks;

  // Number of the job and, in the low bits, how many threads take part: a late sleeper that has no share in a job must
  // be able to tell so without reading the job, which may be the next one already.
  static constexpr std::uint32_t kThreadBits = 12;
  Signal epoch;
  alignas(64) std::atomic<int> running{0};
  Signal finished;
  Barrier barrier;

  MemoryBlock shared;
  std::vector<MemoryBlock> arenas;
  std::vector<std::thread> workers;
  std::atomic<bool> stop{false};
};

namespace {

constexpr int kMaxThreads = (1 << ThreadTeam::State::kThreadBits) - 1;

std::uint32_t next_epoch(const ThreadTeam::State& state, int threads) {
  constexpr std::uint32_t bits = ThreadTeam::State::kThreadBits;
  return ((state.epoch.load() >> bits) + 1) << bits | static_cast<std::uint32_t>(threads);
}

void work(ThreadTeam::State* state, int rank) {
  std::uint32_t seen = 0;
  for (;;) {
    state->epoch.wait_while(seen, state->spin);
    seen = state->epoch.load();
    if (state->stop.load(std::memory_order_relaxed)) return;
    const int threads = static_cast<int>(seen & kMaxThreads);
    if (rank >= threads) continue;
    state->body(state->kernel, Worker(&state->barrier, rank, threads, state->shared_block, state->blocks[rank]));
    if (state->running.fetch_sub(1, std::memory_order_acq_rel) == 1) state->finished.set_and_wake(seen);
  }
}

ThreadTeam* g_team = nullptr;
std::mutex* g_mutex = new std::mutex;
std::atomic<int> g_threads{1};

// The threads do not exist in the child, and a lock may be held by one of them: begin anew. The old team is leaked.
void forget_team_in_child() {
  g_team = nullptr;
  g_mutex = new std::mutex;
}

}  // namespace

ThreadTeam& ThreadTeam::instance() {
  static const int registered = pthread_atfork(nullptr, nullptr, forget_team_in_child);
  (void)registered;
  std::lock_guard<std::mutex> lock(*g_mutex);
  if (g_team == nullptr) g_team = new ThreadTeam(g_threads.load());
  return *g_team;
}

ThreadTeam::ThreadTeam(int threads) { start(threads); }

void ThreadTeam::start(int threads) {
  state_ = new State(threads);
  for (int rank = 1; rank < threads; ++rank) state_->workers.emplace_back(work, state_, rank);
  size_.store(threads, std::memory_order_relaxed);
  g_threads.store(threads);
}

bool ThreadTeam::spins() const { return state_->spin; }

void ThreadTeam::resize(int threads) {
  FNN_CHECK(threads >= 1 && threads <= kMaxThreads, "a team has 1 to 4095 threads");
  std::lock_guard<std::mutex> lock(callers_);
  if (threads == size()) return;
  State* old = state_;
  old->stop.store(true);
  old->epoch.set_and_wake(next_epoch(*old, 0));
  for (std::thread& worker : old->workers) worker.join();
  delete old;
  start(threads);
}

bool ThreadTeam::busy() {
  std::unique_lock<std::mutex> lock(callers_, std::try_to_lock);
  return !lock.owns_lock();
}

bool ThreadTeam::Turn::asleep() const { return team_.state_->epoch.has_sleepers(); }

// The caller has its turn.
void ThreadTeam::run_erased(Body body, const void* kernel, int threads, Scratch need) {
  State* state = state_;
  threads = std::max(1, std::min(threads, size()));
  std::byte* shared = state->shared.reserve(need.shared);
  for (int rank = 0; rank < threads; ++rank) state->blocks[rank] = state->arenas[rank].reserve(need.per_thread);
  if (threads == 1) {
    body(kernel, Worker(&state->barrier, 0, 1, shared, state->blocks[0]));
    return;
  }
  state->body = body;
  state->kernel = kernel;
  state->shared_block = shared;
  state->running.store(threads - 1, std::memory_order_relaxed);
  const std::uint32_t before = state->finished.load();
  state->epoch.set_and_wake(next_epoch(*state, threads));
  body(kernel, Worker(&state->barrier, 0, threads, shared, state->blocks[0]));
  state->finished.wait_while(before, state->spin);
}

}  // namespace fnn
