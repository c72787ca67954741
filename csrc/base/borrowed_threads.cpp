#include "base/borrowed_threads.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "base/memory_block.h"

namespace fnn {
namespace {

// What a kernel needs that isn't its own; callers take turns.
struct Workplace {
  std::mutex callers;
  MemoryBlock shared;
  std::vector<MemoryBlock> blocks;
  std::vector<std::byte*> pointers;
};

std::atomic<const OpenMpPool*> g_pool{nullptr};
Workplace* g_workplace = new Workplace;

// The pool's threads do not exist in the child, where the runtime would wait for them; the mutex may be held by one.
void forget_pool_in_child() {
  g_pool = nullptr;
  g_workplace = new Workplace;
}

struct Job {
  ThreadTeam::Body body;
  const void* kernel;
  const OpenMpPool* pool;
  int threads;  // as many as the kernel wants: the pool may have more of them or, inside of its own regions, fewer
  Barrier barrier;
  std::byte* shared;
  std::byte** blocks;
};

void do_share(void* data) {
  Job* job = static_cast<Job*>(data);
  const int rank = job->pool->thread_num(), size = std::min(job->threads, job->pool->num_threads());
  if (rank < size) job->body(job->kernel, Worker(&job->barrier, rank, size, job->shared, job->blocks[rank]));
}

}  // namespace

void BorrowedThreads::borrow(const OpenMpPool& pool) {
  static const int registered = pthread_atfork(nullptr, nullptr, forget_pool_in_child);
  (void)registered;
  g_pool = new OpenMpPool(pool);  // never freed: another thread may be using the one before
}

int BorrowedThreads::threads() {
  const OpenMpPool* pool = g_pool;
  return pool != nullptr ? pool->max_threads() : 1;
}

void BorrowedThreads::run_erased(ThreadTeam::Body body, const void* kernel, int threads, Scratch need) {
  Workplace& place = *g_workplace;
  std::lock_guard<std::mutex> lock(place.callers);
  const auto count = static_cast<std::size_t>(threads);
  if (place.blocks.size() < count) place.blocks = std::vector<MemoryBlock>(count);
  place.pointers.resize(place.blocks.size());
  for (std::size_t i = 0; i < count; ++i) place.pointers[i] = place.blocks[i].reserve(need.per_thread);
  static const int cores = static_cast<int>(std::thread::hardware_concurrency());
  Job job{body,
          kernel,
          g_pool,
          threads,
          Barrier(threads <= cores),
          place.shared.reserve(need.shared),
          place.pointers.data()};
  if (threads == 1) return body(kernel, Worker(&job.barrier, 0, 1, job.shared, job.blocks[0]));
  job.pool->parallel(do_share, &job, 0, 0);
}

}  // namespace fnn
