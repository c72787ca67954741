// Records kernel calls and replays them natively: the CPU's counterpart of a CUDA Graph.
//
// While a tape records, every kernel that is launched runs as usual and is copied onto the tape: its function, pointers
// and sizes. A replay runs them again in the same order, on the same memory, inside one parallel region: threads meet
// at a barrier between kernels and never return to Python. What changes from step to step is read from memory by the
// kernels.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "base/kernel.h"

namespace fnn::tape {

class Tape {
 public:
  Tape() : threads_(ThreadTeam::instance().size()) {}

  template <class K>
  void record(const K& kernel) {
    const int threads = threads_for(kernel, threads_);
    const Scratch need = kernel.scratch(threads);
    scratch_.shared = std::max(scratch_.shared, need.shared);
    scratch_.per_thread = std::max(scratch_.per_thread, need.per_thread);
    entries_.push_back({[](const void* k, const Worker& worker) { (*static_cast<const K*>(k))(worker); },
                        std::make_shared<const K>(kernel), threads, nullptr});
  }
  // From here on a replay goes on only while *value is finite; else it ends, and what follows isn't run.
  void stop_unless_finite(const double* value);
  // Keeps something alive as long as the tape: the owner of memory that kernels point to.
  void keep(std::shared_ptr<void> owner) { owners_.push_back(std::move(owner)); }

  std::int64_t size() const { return static_cast<std::int64_t>(entries_.size()); }
  int threads() const { return threads_; }  // the team's size when recording began; a replay needs the same

  // Runs the tape `steps` times; returns how many were run to the end.
  std::int64_t replay(std::int64_t steps) const;

 private:
  struct Entry {
    ThreadTeam::Body body;  // null: only the guard
    std::shared_ptr<const void> kernel;
    int threads;
    const double* guard;
  };
  struct Replay;

  const int threads_;
  std::vector<Entry> entries_;
  Scratch scratch_;
  std::vector<std::shared_ptr<void>> owners_;
};

// The tape that this thread's launches are recorded on, or null.
Tape* recording();
void set_recording(Tape* tape);

}  // namespace fnn::tape
