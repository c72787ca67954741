#include "tape/tape.h"

#include <cmath>

#include "base/error.h"

namespace fnn::tape {
namespace {

thread_local Tape* g_recording = nullptr;

}  // namespace

Tape* recording() { return g_recording; }
void set_recording(Tape* tape) { g_recording = tape; }

void Tape::stop_unless_finite(const double* value) { entries_.push_back({nullptr, nullptr, 1, value}); }

// The whole replay as one kernel.
struct Tape::Replay : Kernel {
  const Tape& tape;
  std::int64_t steps;
  std::int64_t* done;
  Barrier* between;

  Replay(const Tape& tape, std::int64_t steps, std::int64_t* done, Barrier* between)
      : tape(tape), steps(steps), done(done), between(between) {}

  void operator()(const Worker& worker) const {
    const std::size_t count = tape.entries_.size();
    for (std::int64_t step = 0; step < steps; ++step) {
      for (std::size_t i = 0; i < count; ++i) {
        const Entry& entry = tape.entries_[i];
        if (entry.guard != nullptr && !std::isfinite(*entry.guard)) return;  // all threads see the same value
        if (entry.body != nullptr && worker.rank < entry.threads)
          entry.body(entry.kernel.get(), worker.among(entry.threads));
        // Neighbours that only the first thread runs need no meeting.
        const Entry& next = tape.entries_[i + 1 < count ? i + 1 : 0];
        const bool alone = entry.threads == 1 && next.threads == 1 && entry.guard == nullptr && next.guard == nullptr;
        if (worker.size > 1 && !alone) between->wait(worker.size);
      }
      if (worker.rank == 0) *done = step + 1;
    }
  }
};

std::int64_t Tape::replay(std::int64_t steps) const {
  ThreadTeam& team = ThreadTeam::instance();
  FNN_CHECK(team.size() == threads_, "a tape is replayed by as many threads as it was recorded with");
  std::int64_t done = 0;
  Barrier between(team.spins());
  team.run(Replay(*this, steps, &done, &between), threads_, scratch_);
  return done;
}

}  // namespace fnn::tape
