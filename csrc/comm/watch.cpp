#include "comm/watch.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstring>

namespace fnn::comm {
namespace {

constexpr int kSpins = 10000;  // some 500 microseconds
// Among those spins, the core is offered to others now and then. Two ranks that find themselves on one core, as after
// waking up beside a busy one, would else take turns of 500 microseconds each: 1.2 ms for an all-reduce of 4 KB.
constexpr int kAlone = 128, kOffer = 32;
constexpr int kYields = 50;
constexpr long kSleep = 50'000'000;  // nanoseconds between two looks at the others: a death is noticed within them

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  const timespec limit{0, kSleep};
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT, value, &limit, nullptr, 0);
}

void wake(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

std::string in_words(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", seconds);
  return text;
}

}  // namespace

std::string name_of(const Member& member) {
  return "rank " + std::to_string(member.rank) + " (process " + std::to_string(member.pid) + " of host " + member.host +
         ")";
}

Failure mismatch(const Header& own, const Member& self, const Header& theirs, const Member& other) {
  return {Trouble::mismatch, other.rank, other.host, own.operation,
          "the ranks call different things as operation " + std::to_string(own.operation) + ": " + name_of(self) + " " +
              text_of(own) + ", " + name_of(other) + " " + text_of(theirs)};
}

Watch::Watch(Segment& segment, std::vector<Member> locals, int local_rank, bool spin, Limits limits, Hooks hooks)
    : segment_(segment),
      locals_(std::move(locals)),
      local_rank_(local_rank),
      spin_(spin),
      limits_(limits),
      hooks_(std::move(hooks)) {}

void Watch::begin(const Header& header) {
  check();
  header_ = header;
  operation_ = header.operation;
}

void Watch::publish(Line& line, std::uint32_t value) {
  line.value.store(value, std::memory_order_seq_cst);
  if (line.sleepers.load(std::memory_order_seq_cst) > 0) wake(line.value);
}

void Watch::ring(Line& line) {
  line.value.fetch_add(1, std::memory_order_seq_cst);
  if (line.sleepers.load(std::memory_order_seq_cst) > 0) wake(line.value);
}

bool Watch::sleeps(int rounds) const { return rounds > (spin_ ? kSpins : 0) + kYields; }

void Watch::yield(int& rounds, Line& line, std::uint32_t seen) {
  const int spins = spin_ ? kSpins : 0;
  if (rounds < spins && (rounds < kAlone || rounds % kOffer != 0)) {
    relax();
  } else if (rounds < spins + kYields) {
    sched_yield();
  } else {
    line.sleepers.fetch_add(1, std::memory_order_seq_cst);
    if (!failed()) sleep_while(line.value, seen);
    line.sleepers.fetch_sub(1, std::memory_order_seq_cst);
  }
  ++rounds;
}

void Watch::wait_long(Line& line, std::uint32_t value, int local_rank) {
  Wait wait = begin_wait(local_rank);
  for (int rounds = 0;;) {
    const std::uint32_t seen = line.value.load(std::memory_order_seq_cst);
    if (static_cast<std::int32_t>(seen - value) >= 0) return;
    if (!wait.gone) yield(rounds, line, seen);
    if (!sleeps(rounds) && rounds % 64 != 0) continue;
    const bool come = static_cast<std::int32_t>(line.value.load(std::memory_order_seq_cst) - value) >= 0;
    if (!come) look_around(wait);
  }
}

void Watch::look_around(Wait& wait) {
  check();
  const auto now = Clock::now();
  if (now - wait.looked < std::chrono::nanoseconds(kSleep / 2)) return;
  wait.looked = now;
  check_interruption();
  if (wait.local_rank >= 0) check_presence(wait);
  const Member& member = *wait.member;
  const double waited = -seconds_until(wait.since) / patience_;
  if (waited >= limits_.timeout) {
    fail({Trouble::timeout, member.rank, member.host, header_.operation,
          operation() + " timed out: " + name_of(member) + " did not come within " + in_words(limits_.timeout)});
  }
  if (waited >= limits_.warn && !wait.warned) {
    wait.warned = true;
    hooks_.warn(operation() + " has waited " + in_words(limits_.warn) + " for " + name_of(member));
  }
}

void Watch::check_presence(Wait& wait) {
  const Member& member = *wait.member;
  const int presence = segment_.rank(wait.local_rank).presence.load(std::memory_order_acquire);
  const bool here = wait.local_rank == local_rank_ || segment_.is_locked(wait.local_rank);
  if (presence == kAbsent || (presence == kPresent && here)) return;
  if (!wait.gone) {  // what it announced just before it ended still counts: the caller looks once more
    wait.gone = true;
    wait.looked = {};
    return;
  }
  const std::string why = presence == kLeft ? "it left the group (it was closed or its program ended)"
                                            : "its process ended (it was killed or crashed)";
  fail({Trouble::died, member.rank, member.host, header_.operation,
        name_of(member) + " is gone in " + operation() + ": " + why});
}

void Watch::check_interruption() {
  if (segment_.rank(local_rank_).presence.load(std::memory_order_acquire) == kLeft) {
    throw Failed({Trouble::closed, -1, "", header_.operation, "the communicator was closed in " + operation()});
  }
  if (!hooks_.interrupted()) return;
  const Member& self = member(local_rank_);
  Failure failure{Trouble::died, self.rank, self.host, header_.operation,
                  name_of(self) + " was interrupted in " + operation()};
  record(failure);
  failure.trouble = Trouble::interrupted;
  throw Failed(failure);
}

std::string Watch::operation() const {
  return "operation " + std::to_string(header_.operation) + ", " + text_of(header_);
}

void Watch::record(const Failure& failure, bool report) {
  SharedFailure& shared = segment_.failure();
  std::uint32_t none = 0;
  if (shared.state.compare_exchange_strong(none, 1)) {
    shared.trouble = static_cast<std::int32_t>(failure.trouble);
    shared.rank = failure.rank;
    shared.operation = failure.operation;
    std::strncpy(shared.host, failure.host.c_str(), sizeof shared.host - 1);
    std::strncpy(shared.text, failure.text.c_str(), sizeof shared.text - 1);
    shared.state.store(2, std::memory_order_seq_cst);
    if (report && report_) report_(failure);
  }
  wake_all();
}

void Watch::fail(Failure failure) {
  record(failure);
  check();
  throw Failed(std::move(failure));
}

void Watch::check() const {
  if (!failed()) return;
  const SharedFailure& shared = segment_.failure();
  throw Failed({static_cast<Trouble>(shared.trouble), shared.rank, shared.host, shared.operation, shared.text});
}

void Watch::wake_all() {
  for (int i = 0; i < segment_.ranks(); ++i) {
    RankState& state = segment_.rank(i);
    for (Line* line : {&state.arrived[0], &state.arrived[1], &state.done, &state.staged, &state.combined, &state.sent,
                       &state.taken, &state.bell, &state.counters[0], &state.counters[1]})
      wake(line->value);
  }
}

}  // namespace fnn::comm
