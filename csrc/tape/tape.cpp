#include "tape/tape.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/error.h"

namespace fnn::tape {
namespace {

thread_local Tape* g_recording = nullptr;

// A sleeping thread takes about 50 microseconds to wake, this much work in elements of a cheap loop. It is worth its
// while for longer tapes, and for calls that come so quickly (in nanoseconds) that it will not sleep between them.
constexpr std::int64_t kWakeWork = 500'000, kQuick = 30'000;

std::int64_t now() { return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Tape* recording() { return g_recording; }
void set_recording(Tape* tape) { g_recording = tape; }

void Tape::add(Entry entry) {
  entries_.push_back(std::move(entry));
  phases_.clear();
}

void Tape::stop_unless_finite(const double* value) {
  Entry entry;
  entry.guard = value;
  add(std::move(entry));
}

std::byte* Tape::own_block(std::size_t bytes) {
  void* block = std::aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (block == nullptr) throw std::bad_alloc();
  keep({block, &std::free}, nullptr);
  return static_cast<std::byte*>(block);
}

std::size_t Tape::add_port(const void* data, std::size_t bytes, bool written) {
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  Port port = {bytes, written, {}};
  for (const Entry& entry : entries_) {
    auto* kernel = static_cast<std::byte*>(entry.kernel.get());
    for (std::size_t at = 0; at + sizeof(void*) <= entry.bytes; at += sizeof(void*)) {
      std::uintptr_t value;
      std::memcpy(&value, kernel + at, sizeof value);
      // No size or number looks like an address, and what is changed in a struct's padding does no harm.
      if (value - begin < bytes) port.pointers.push_back({kernel + at, static_cast<std::ptrdiff_t>(value - begin)});
    }
  }
  const auto inside = [&](const Owner& owner) { return reinterpret_cast<std::uintptr_t>(owner.data) - begin < bytes; };
  owners_.erase(std::remove_if(owners_.begin(), owners_.end(), inside), owners_.end());
  ports_.push_back(std::move(port));
  return ports_.back().pointers.size();
}

void Tape::aim(const Place* places, std::int64_t step) const {
  for (const Port& port : ports_) {
    const auto* data = static_cast<const std::byte*>(places->data) + step * places->stride;
    for (const Port::Pointer& pointer : port.pointers) {
      const std::byte* to = data + pointer.offset;
      std::memcpy(pointer.at, &to, sizeof to);
    }
    ++places;
  }
}

// Gives neighbours that divide their work alike as many threads as the one that wants most.
void Tape::share_threads() {
  std::vector<Entry*> run;
  const auto end_run = [&run] {
    int most = 1;
    for (const Entry* entry : run) most = std::max(most, entry->threads);
    for (Entry* entry : run) entry->threads = most;
    run.clear();
  };
  for (Entry& entry : entries_) {
    if (entry.waits) continue;
    if (!run.empty() && !run.back()->after.continues_in(entry.before)) end_run();
    run.push_back(&entry);
  }
  end_run();
}

void Tape::plan() {
  if (!phases_.empty()) return;
  share_threads();
  useful_threads_ = 1;
  Phase phase;
  std::vector<Entry> waiting;
  const auto meet = [&] {  // what waits goes before what is alone anyway
    phase.alone.insert(phase.alone.begin(), waiting.begin(), waiting.end());
    waiting.clear();
    phases_.push_back(std::move(phase));
    phase = {};
  };
  for (const Entry& entry : entries_) {
    useful_threads_ = std::max(useful_threads_, entry.threads);
    if (entry.waits && phase.alone.empty()) {
      waiting.push_back(entry);
    } else if (entry.threads == 1) {
      phase.alone.push_back(entry);
    } else {
      const std::vector<Entry>& before = phase.together;
      const bool goes_on = before.empty() || before.back().after.continues_in(entry.before);
      if (!phase.alone.empty() || !goes_on) meet();
      phase.together.push_back(entry);
    }
  }
  meet();
}

std::int64_t Tape::meetings() {
  plan();
  const auto count = static_cast<std::int64_t>(phases_.size());
  return useful_threads_ == 1 ? 0 : count - (count > 1 && phases_.front().together.empty() ? 1 : 0);
}

// The whole replay as one kernel.
class Tape::Replay : public Kernel {
 public:
  Replay(const Tape& tape, std::int64_t steps, const Place* places, bool spins)
      : tape_(tape), steps_(steps), places_(places), barrier_(spins) {}

  std::int64_t done() const { return done_; }

  void operator()(const Worker& worker) const {
    const std::vector<Phase>& phases = tape_.phases_;
    // What comes before the first work of all threads is done when they meet at the end of the step before.
    const bool early = phases.size() > 1 && phases.front().together.empty();
    if (early) meet(worker, [&] { run_alone(worker, phases.front()); });
    for (std::int64_t step = 0; step < steps_; ++step) {
      for (std::size_t i = early ? 1 : 0; i < phases.size(); ++i) {
        if (stopped_) return;  // set in a meeting: all threads see the same value
        run_together(worker, phases[i]);
        const bool last = i + 1 == phases.size();
        if (last && step + 1 == steps_ && phases[i].alone.empty()) {  // the region's end is a meeting too
          if (worker.rank == 0) done_ = steps_;
          return;
        }
        meet(worker, [&] {
          run_alone(worker, phases[i]);
          if (!last || stopped_) return;
          done_ = step + 1;
          if (done_ == steps_) return;
          tape_.aim(places_, done_);
          if (early) run_alone(worker, phases.front());
        });
      }
    }
  }

 private:
  template <class Alone>
  void meet(const Worker& worker, const Alone& alone) const {
    if (worker.size == 1) return alone();
    barrier_.wait(worker.size, alone);
  }

  static void run_together(const Worker& worker, const Phase& phase) {
    for (const Entry& entry : phase.together) {
      const int threads = std::min(entry.threads, worker.size);
      if (worker.rank < threads) entry.body(entry.kernel.get(), worker.among(threads).sharing(entry.shared));
    }
  }

  void run_alone(const Worker& worker, const Phase& phase) const {
    for (const Entry& entry : phase.alone) {
      if (entry.guard != nullptr && !std::isfinite(*entry.guard)) {
        stopped_ = true;
        return;
      }
      if (entry.body != nullptr) entry.body(entry.kernel.get(), worker.alone().sharing(entry.shared));
    }
  }

  const Tape& tape_;
  const std::int64_t steps_;
  const Place* const places_;
  mutable Barrier barrier_;
  // Written by one thread in a meeting, read by all after it.
  mutable std::int64_t done_ = 0;
  mutable bool stopped_ = false;
};

std::int64_t Tape::run(ThreadTeam& team, ThreadTeam::Turn& turn, int threads, std::int64_t steps, const Place* places) {
  FNN_CHECK(team.size() == threads_, "a tape is replayed by as many threads as it was recorded with");
  FNN_CHECK(ports_.empty() || places != nullptr, "a replay needs a place for each port");
  const Replay replay(*this, steps, places, team.spins());
  aim(places, 0);
  if (steps > 0) turn.run(replay, threads, scratch_);
  return replay.done();
}

std::int64_t Tape::replay(std::int64_t steps, const Place* places) {
  ThreadTeam& team = ThreadTeam::instance();
  ThreadTeam::Turn turn(team);
  plan();
  return run(team, turn, useful_threads_, steps, places);
}

void Tape::replay_soon(const Place* places) {
  ThreadTeam& team = ThreadTeam::instance();
  ThreadTeam::Turn turn(team);
  plan();
  const bool alone = useful_threads_ > 1 && turn.asleep() && work_ < kWakeWork && now() - last_end_ > kQuick;
  run(team, turn, alone ? 1 : useful_threads_, 1, places);
  if (useful_threads_ > 1) last_end_ = now();
}

}  // namespace fnn::tape
