// The threads of another library's OpenMP pool, for kernels that run between that library's own.
//
// An OpenMP thread that has done its share spins for milliseconds in wait of more, and ours would find the cores taken:
// a step of Adam over the 137,000 parameters of an MLP took 195 to 275 microseconds between torch's passes, 123 on one
// thread, and takes 66 on the pool's threads, which are awake already.
#pragma once
#include "base/kernel.h"

namespace fnn {

// The functions of an OpenMP runtime. `parallel` is GOMP_parallel, which GCC's, LLVM's and Intel's all have: it calls
// body(data) on each of `threads` threads, 0 meaning as many as usual.
struct OpenMpPool {
  void (*parallel)(void (*body)(void*), void* data, unsigned threads, unsigned flags);
  int (*thread_num)();
  int (*num_threads)();
  int (*max_threads)();
};

class BorrowedThreads {
 public:
  // From now on run() uses this pool.
  static void borrow(const OpenMpPool& pool);

  // Runs a kernel on as many threads as the pool has for its own parallel regions; on the team's where there is no
  // pool, or a pool of the caller alone, in which no thread spins.
  template <class K>
  static void run(const K& kernel) {
    static_assert(!has_conclusion<K>::value, "no kernel that needs one has been run here yet");
    const int size = threads();
    if (size < 2) return fnn::run(kernel);
    const int useful = threads_for(kernel, size);
    const ThreadTeam::Body body = [](const void* k, const Worker& worker) { (*static_cast<const K*>(k))(worker); };
    run_erased(body, &kernel, useful, kernel.scratch(useful));
  }

 private:
  static int threads();
  static void run_erased(ThreadTeam::Body body, const void* kernel, int threads, Scratch need);
};

}  // namespace fnn
