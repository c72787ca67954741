#include "tape/tape.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

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

void Tape::stop_unless_finite(const double* value) { entries_.push_back({nullptr, nullptr, 0, 1, value}); }

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

// The whole replay as one kernel.
struct Tape::Replay : Kernel {
  const Tape& tape;
  std::int64_t steps;
  const Place* places;
  std::int64_t* done;
  Barrier* between;

  Replay(const Tape& tape, std::int64_t steps, const Place* places, std::int64_t* done, Barrier* between)
      : tape(tape), steps(steps), places(places), done(done), between(between) {}

  void operator()(const Worker& worker) const {
    const std::size_t count = tape.entries_.size();
    for (std::int64_t step = 0; step < steps; ++step) {
      if (step > 0 && !tape.ports_.empty()) {
        if (worker.rank == 0) tape.aim(places, step);
        if (worker.size > 1) between->wait(worker.size);
      }
      for (std::size_t i = 0; i < count; ++i) {
        const Entry& entry = tape.entries_[i];
        if (entry.guard != nullptr && !std::isfinite(*entry.guard)) return;  // all threads see the same value
        const int threads = std::min(entry.threads, worker.size);
        if (entry.body != nullptr && worker.rank < threads) entry.body(entry.kernel.get(), worker.among(threads));
        if (i + 1 == count && step + 1 == steps) break;  // the end of the parallel region is a meeting too
        // Neighbours that only the first thread runs need no meeting.
        const Entry& next = tape.entries_[i + 1 < count ? i + 1 : 0];
        const bool alone = entry.threads == 1 && next.threads == 1 && entry.guard == nullptr && next.guard == nullptr;
        if (worker.size > 1 && !alone) between->wait(worker.size);
      }
      if (worker.rank == 0) *done = step + 1;
    }
  }
};

std::int64_t Tape::run(ThreadTeam& team, ThreadTeam::Turn& turn, int threads, std::int64_t steps, const Place* places) {
  FNN_CHECK(team.size() == threads_, "a tape is replayed by as many threads as it was recorded with");
  FNN_CHECK(ports_.empty() || places != nullptr, "a replay needs a place for each port");
  std::int64_t done = 0;
  Barrier between(team.spins());
  aim(places, 0);
  turn.run(Replay(*this, steps, places, &done, &between), threads, scratch_);
  return done;
}

std::int64_t Tape::replay(std::int64_t steps, const Place* places) {
  ThreadTeam& team = ThreadTeam::instance();
  ThreadTeam::Turn turn(team);
  return run(team, turn, useful_threads_, steps, places);
}

void Tape::replay_soon(const Place* places) {
  ThreadTeam& team = ThreadTeam::instance();
  ThreadTeam::Turn turn(team);
  const bool alone = useful_threads_ > 1 && turn.asleep() && work_ < kWakeWork && now() - last_end_ > kQuick;
  run(team, turn, alone ? 1 : useful_threads_, 1, places);
  if (useful_threads_ > 1) last_end_ = now();
}

}  // namespace fnn::tape
