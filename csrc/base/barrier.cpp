#include "base/barrier.h"

#include <sched.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#endif

namespace fnn {
namespace {

// Between two kernels of an eager step Python takes 2-10 microseconds; a futex wake-up costs about 50. So a waiting
// thread spins for some microseconds, then offers its core to others for some tens (a yield costs about half a
// microsecond when nobody wants the core, and lets the awaited thread run when it shares ours), then sleeps.
constexpr int kSpins = 300;
constexpr int kYields = 150;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void Signal::set_and_wake(std::uint32_t value) {
  value_.store(value, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) wake();
}

void Signal::wait_while(std::uint32_t old, bool spin) {
  for (int i = 0; spin && i < kSpins; ++i) {
    if (load() != old) return;
    relax();
  }
  for (int i = 0; i < kYields; ++i) {
    if (load() != old) return;
    sched_yield();
  }
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (value_.load(std::memory_order_seq_cst) == old) sleep(old);
  sleepers_.fetch_sub(1, std::memory_order_seq_cst);
}

#ifdef __linux__
void Signal::sleep(std::uint32_t old) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&value_), FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
}
void Signal::wake() {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&value_), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}
#else
void Signal::sleep(std::uint32_t old) {
  std::unique_lock<std::mutex> lock(mutex_);
  condition_.wait(lock, [&] { return value_.load() != old; });
}
void Signal::wake() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
  }
  condition_.notify_all();
}
#endif

}  // namespace fnn
