// What every kernel is: a plain struct of pointers and sizes, called by each thread of the team.
#pragma once
#include <cstdint>

#include "base/thread_team.h"

namespace fnn {

// Elements of a cheap loop that are worth a thread of their own: below, waking the others costs more than it saves.
inline constexpr std::int64_t kGrain = 8192;

// Defaults of a kernel; a kernel hides what differs for it and adds `void operator()(const Worker&) const`.
struct Kernel {
  Scratch scratch(int /*threads*/) const { return {}; }
  // Cost in elements of a cheap loop (about a nanosecond per ten); decides how many threads are worth waking.
  std::int64_t work() const { return INT64_MAX; }
};

template <class K>
int threads_for(const K& kernel, int available) {
  const std::int64_t useful = kernel.work() / kGrain;
  return useful < available ? static_cast<int>(useful > 1 ? useful : 1) : available;
}

template <class K>
void run(const K& kernel) {
  ThreadTeam& team = ThreadTeam::instance();
  const int threads = threads_for(kernel, team.size());
  team.run(kernel, threads, kernel.scratch(threads));
}

}  // namespace fnn
