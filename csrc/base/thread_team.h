// A persistent team of threads that all run the same kernel (SPMD), each on its own share.
//
// Why not OpenMP: libgomp hangs after fork, launchers set OMP_NUM_THREADS=1, and a replayed step wants barriers inside
// one long parallel region and not a fork and join per operation.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "base/barrier.h"
#include "base/macros.h"

namespace fnn {

// Temporary bytes that a kernel asks for before it runs: one block for the whole team and one for each thread.
struct Scratch {
  std::size_t shared = 0;
  std::size_t per_thread = 0;
};
// Enough for either of two.
inline Scratch enough_for(const Scratch& a, const Scratch& b) {
  return {std::max(a.shared, b.shared), std::max(a.per_thread, b.per_thread)};
}

// What a kernel sees of the team: who am I, how many are we, and a barrier.
class Worker {
 public:
  Worker(Barrier* barrier, int rank, int size, std::byte* shared, std::byte* scratch)
      : rank(rank), size(size), barrier_(barrier), shared_(shared), scratch_(scratch) {}

  // Waits until every thread of the team has come here; writes made before are visible after.
  void barrier() const {
    if (size > 1) barrier_->wait(size);
  }
  // The same thread as a member of the first `threads` threads of its team (it must be one of them).
  Worker among(int threads) const { return {barrier_, rank, threads, shared_, scratch_}; }
  // The same thread as a team of its own.
  Worker alone() const { return {barrier_, 0, 1, shared_, scratch_}; }
  // The same thread with another block of shared memory, unless that is null.
  Worker sharing(std::byte* block) const {
    return {barrier_, rank, size, block != nullptr ? block : shared_, scratch_};
  }
  // The same thread with other scratch memory: for a kernel that is part of another one.
  Worker with(void* shared, void* scratch) const {
    return {barrier_, rank, size, static_cast<std::byte*>(shared), static_cast<std::byte*>(scratch)};
  }

  template <class T>
  T* shared() const {
    return reinterpret_cast<T*>(shared_);
  }
  template <class T>
  T* scratch() const {
    return reinterpret_cast<T*>(scratch_);
  }

  const int rank;
  const int size;

 private:
  Barrier* barrier_;
  std::byte* shared_;
  std::byte* scratch_;
};

struct Range {
  std::int64_t begin, end;
  FNN_HD std::int64_t size() const { return end - begin; }
};

// Share `rank` of `count` items split among `size` threads as evenly as multiples of `grain` allow.
inline Range share(std::int64_t count, int rank, int size, std::int64_t grain = 1) {
  const std::int64_t grains = (count + grain - 1) / grain;
  return {std::min(count, grains * rank / size * grain), std::min(count, grains * (rank + 1) / size * grain)};
}

class ThreadTeam {
 public:
  // The process's team; made on first use and made anew, with the same size, in the child after a fork.
  static ThreadTeam& instance();

  int size() const { return size_.load(std::memory_order_relaxed); }
  void resize(int threads);
  bool busy();         // whether a caller has its turn just now
  bool spins() const;  // whether waiting threads spin at first: only while each has a core of its own

  // Runs kernel(worker) on `threads` threads (at most size()), the caller being worker 0, and returns when all are
  // done. Concurrent callers take turns.
  template <class Kernel>
  void run(const Kernel& kernel, int threads, Scratch need) {
    Turn(*this).run(kernel, threads, need);
  }

  using Body = void (*)(const void* kernel, const Worker& worker);
  struct State;

  // A caller's turn: until it ends no other caller's kernel runs, and the team keeps its size.
  class Turn {
   public:
    explicit Turn(ThreadTeam& team) : team_(team), lock_(team.callers_) {}
    bool asleep() const;  // whether a thread sleeps, so that to wake it takes tens of microseconds

    template <class Kernel>
    void run(const Kernel& kernel, int threads, Scratch need) {
      team_.run_erased([](const void* k, const Worker& w) { (*static_cast<const Kernel*>(k))(w); }, &kernel, threads,
                       need);
    }

   private:
    ThreadTeam& team_;
    std::lock_guard<std::mutex> lock_;
  };

 private:
  explicit ThreadTeam(int threads);
  void start(int threads);
  void run_erased(Body body, const void* kernel, int threads, Scratch need);

  std::mutex callers_;
  std::atomic<int> size_{0};
  State* state_ = nullptr;
};

}  // namespace fnn
