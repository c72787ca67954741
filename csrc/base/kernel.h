// What every kernel is: a plain struct of pointers and sizes, called by each thread of the team.
#pragma once
#include <cstdint>
#include <type_traits>
#include <utility>

#include "base/thread_team.h"

namespace fnn {

// Elements of a cheap loop that are worth a thread of their own: below, waking the others costs more than it saves.
inline constexpr std::int64_t kGrain = 8192;

// A bool of a kernel that fills its place in the struct: in the padding beside a bool an old pointer may lie, and the
// whole would look like the address of a tape's port.
class Flag {
 public:
  Flag(bool value = false) : value_(value) {}
  operator bool() const { return value_ != 0; }

 private:
  std::int64_t value_;
};

// How the workers of a kernel divide what they share with the kernels before and after it: of every array that one of
// those writes or that it writes itself, each worker touches its share(count, rank, size) of the rows alone. Where two
// kernels that follow one another divide alike, no worker needs to wait for another one between them: arrays that are
// not the same must lie apart, then.
struct Partition {
  enum Kind { mixed, rows, parameters };  // mixed: anyone may touch anything
  Kind kind = mixed;
  std::int64_t count = 0;

  bool continues_in(const Partition& next) const { return kind != mixed && kind == next.kind && count == next.count; }
};

// Defaults of a kernel; a kernel hides what differs for it and adds `void operator()(const Worker&) const`.
//
// A kernel may also have `void conclude(const Worker&) const`: what one thread does once all have come to the end, with
// the same shared scratch. It reads what the kernel left there, and nobody needs its result before the next meeting.
struct Kernel {
  Scratch scratch(int /*threads*/) const { return {}; }
  // Cost in elements of a cheap loop (about a nanosecond per ten); decides how many threads are worth waking.
  std::int64_t work() const { return INT64_MAX; }
  // At its beginning and at its end.
  Partition before() const { return {}; }
  Partition after() const { return {}; }
};

template <class K, class = void>
struct has_conclusion : std::false_type {};
template <class K>
struct has_conclusion<K, std::void_t<decltype(std::declval<const K&>().conclude(std::declval<const Worker&>()))>>
    : std::true_type {};

template <class K>
int threads_for(const K& kernel, int available) {
  const std::int64_t useful = kernel.work() / kGrain;
  return useful < available ? static_cast<int>(useful > 1 ? useful : 1) : available;
}

template <class K>
void run(const K& kernel) {
  ThreadTeam& team = ThreadTeam::instance();
  const int threads = threads_for(kernel, team.size());
  if constexpr (has_conclusion<K>::value) {
    const auto whole = [&kernel](const Worker& worker) {
      kernel(worker);
      worker.barrier();
      if (worker.rank == 0) kernel.conclude(worker);
    };
    team.run(whole, threads, kernel.scratch(threads));
  } else {
    team.run(kernel, threads, kernel.scratch(threads));
  }
}

}  // namespace fnn
