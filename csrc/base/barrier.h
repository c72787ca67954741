// Waiting for other threads: a value to wait on, and a barrier made of it.
#pragma once
#include <atomic>
#include <cstdint>

#ifndef __linux__
#include <condition_variable>
#include <mutex>
#endif

namespace fnn {

// An integer that threads can wait on.
class Signal {
 public:
  std::uint32_t load() const { return value_.load(std::memory_order_acquire); }
  void set_and_wake(std::uint32_t value);
  // Returns once the value differs from `old`: spins if `spin`, then yields, then sleeps.
  void wait_while(std::uint32_t old, bool spin);
  // Whether a thread that waits has gone to sleep: to wake it takes tens of microseconds.
  bool has_sleepers() const { return sleepers_.load(std::memory_order_relaxed) > 0; }

 private:
  void sleep(std::uint32_t old);
  void wake();

#ifndef __linux__
  std::mutex mutex_;
  std::condition_variable condition_;
#endif
  alignas(64) std::atomic<std::uint32_t> value_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

// Lets `threads` threads go on once all of them have come; writes made before are visible after.
class Barrier {
 public:
  explicit Barrier(bool spin) : spin_(spin) {}

  void wait(int threads) {
    wait(threads, [] {});
  }
  // The last one to come calls `alone` before any goes on.
  template <class Alone>
  void wait(int threads, const Alone& alone) {
    const std::uint32_t phase = phase_.load();
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      alone();
      phase_.set_and_wake(phase + 1);
    } else {
      phase_.wait_while(phase, spin_);
    }
  }

 private:
  alignas(64) std::atomic<int> arrived_{0};
  Signal phase_;
  const bool spin_;
};

}  // namespace fnn
