// Records kernel calls and replays them natively: the CPU's counterpart of a CUDA Graph.
//
// While a tape records, every kernel that is launched runs as usual and is copied onto the tape: its function, pointers
// and sizes. A replay runs them again in the same order, inside one parallel region that never returns to Python. What
// changes from step to step is read from memory by the kernels; arrays that are others at each replay are the tape's
// ports.
//
// Threads meet between two kernels only where they must. Kernels that divide their work alike (Partition) follow one
// another without a meeting, all with as many threads as the one that wants most. A kernel too small for more than one
// thread is run, during a meeting, by the last thread that comes to it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "base/kernel.h"

namespace fnn::tape {

// Where a port lies during replays: at `data` in the first, `stride` bytes further in each one after.
struct Place {
  const void* data;
  std::ptrdiff_t stride;
};

class Tape {
 public:
  Tape() : threads_(ThreadTeam::instance().size()) {}

  template <class K>
  void record(const K& kernel) {
    static_assert(std::is_trivially_copyable_v<K>, "a kernel is a plain struct: a port changes its pointers in place");
    const int threads = threads_for(kernel, threads_);
    for (const Scratch need : {kernel.scratch(threads_), kernel.scratch(threads), kernel.scratch(1)}) {
      scratch_.shared = std::max(scratch_.shared, need.shared);
      scratch_.per_thread = std::max(scratch_.per_thread, need.per_thread);
    }
    work_ = kernel.work() < INT64_MAX - work_ ? work_ + kernel.work() : INT64_MAX;
    Entry entry;
    entry.body = [](const void* k, const Worker& worker) { (*static_cast<const K*>(k))(worker); };
    entry.kernel = std::make_shared<K>(kernel);
    entry.bytes = sizeof(K);
    entry.threads = threads;
    entry.before = kernel.before();
    entry.after = kernel.after();
    if constexpr (has_conclusion<K>::value) {  // which comes later: others use the common block meanwhile
      entry.shared = own_block(std::max(kernel.scratch(threads_).shared, kernel.scratch(1).shared));
      Entry conclusion = entry;
      conclusion.body = [](const void* k, const Worker& worker) { static_cast<const K*>(k)->conclude(worker); };
      conclusion.bytes = 0;
      conclusion.threads = 1;
      conclusion.waits = true;
      add(std::move(entry));
      add(std::move(conclusion));
    } else {
      add(std::move(entry));
    }
  }
  // From here on a replay goes on only while *value is finite; else it ends, and what follows isn't run.
  void stop_unless_finite(const double* value);
  // Keeps something alive as long as the tape: the owner of memory at `data` that kernels point to.
  void keep(std::shared_ptr<void> owner, const void* data) { owners_.push_back({std::move(owner), data}); }

  // Makes the array at `data` a port: from now on a replay says where it lies, and the tape doesn't keep it alive.
  // Returns how many of the kernels' pointers lead there.
  std::size_t add_port(const void* data, std::size_t bytes, bool written);
  std::size_t ports() const { return ports_.size(); }
  std::size_t port_bytes(std::size_t port) const { return ports_[port].bytes; }
  bool port_written(std::size_t port) const { return ports_[port].written; }

  std::int64_t meetings();  // how often the threads meet in a step
  std::int64_t size() const { return static_cast<std::int64_t>(entries_.size()); }
  std::int64_t work() const { return work_; }  // of a replay, see Kernel::work
  int threads() const { return threads_; }     // the team's size when recording began; a replay needs the same

  // Runs the tape `steps` times, with a place for each port; returns how many were run to the end.
  std::int64_t replay(std::int64_t steps, const Place* places = nullptr);
  // One replay of a tape whose result doesn't depend on the number of threads, as soon as possible: on this thread
  // alone where to wake the others would take longer.
  void replay_soon(const Place* places);

 private:
  struct Entry {
    ThreadTeam::Body body = nullptr;  // null: only the guard
    std::shared_ptr<void> kernel;
    std::size_t bytes = 0;
    int threads = 1;
    Partition before, after;
    std::byte* shared = nullptr;    // a block of its own instead of the common one
    const double* guard = nullptr;  // go on only while this is finite
    bool waits = false;             // may be put off until the next meeting
  };
  // What the threads do side by side, and what the last of them does when they meet.
  struct Phase {
    std::vector<Entry> together, alone;
  };
  struct Port {
    struct Pointer {
      void* at;
      std::ptrdiff_t offset;  // from the port's first byte
    };
    std::size_t bytes;
    bool written;
    std::vector<Pointer> pointers;
  };
  struct Owner {
    std::shared_ptr<void> object;
    const void* data;
  };
  class Replay;

  void add(Entry entry);
  std::byte* own_block(std::size_t bytes);
  void share_threads();
  void plan();
  void aim(const Place* places, std::int64_t step) const;
  std::int64_t run(ThreadTeam& team, ThreadTeam::Turn& turn, int threads, std::int64_t steps, const Place* places);

  const int threads_;
  int useful_threads_ = 1;  // the most that a kernel uses
  std::vector<Entry> entries_;
  std::vector<Phase> phases_;  // made of the entries when the first replay begins
  std::int64_t work_ = 0;
  Scratch scratch_;
  std::vector<Owner> owners_;
  std::vector<Port> ports_;
  std::int64_t last_end_ = 0;  // of the last replay_soon, in nanoseconds of the steady clock
};

// The tape that this thread's launches are recorded on, or null.
Tape* recording();
void set_recording(Tape* tape);

}  // namespace fnn::tape
