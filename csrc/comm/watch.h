// Waiting for other ranks of the host: quickly while they are about to come, then asleep, and never for ever.
//
// Spinning pays only while each rank has a core of its own: with 4 ranks on 2 cores it made a 4 KB all-reduce 40 times
// slower (2.8 to 131 microseconds), for the awaited rank couldn't run.
#pragma once
#include <string>
#include <vector>

#include "comm/failure.h"
#include "comm/rendezvous.h"
#include "comm/segment.h"

namespace fnn::comm {

// "rank 3 (process 4711 of host node07)"
std::string name_of(const Member& member);
// What two ranks want doesn't fit together.
Failure mismatch(const Header& own, const Member& self, const Header& theirs, const Member& other);

struct Limits {
  double warn = 10;       // seconds of waiting after which the awaited rank is named
  double timeout = 300;   // and after which the operation fails
  double heartbeat = 10;  // after which a host that answers nothing is given up
};

class Watch {
 public:
  using Report = std::function<void(const Failure&)>;

  Watch(Segment& segment, std::vector<Member> locals, int local_rank, bool spin, Limits limits, Hooks hooks);

  // Before each operation: what messages call it. Throws if the group has failed.
  void begin(const Header& header);
  // Announces and wakes.
  void publish(Line& line, std::uint32_t value);
  void ring(Line& line);  // announces that there is something new
  // Returns once the line of `local_rank` has reached `value`. Throws if the group fails before.
  void wait(Line& line, std::uint32_t value, int local_rank) {
    if (static_cast<std::int32_t>(line.value.load(std::memory_order_acquire) - value) < 0)
      wait_long(line, value, local_rank);
  }
  // The group fails for all of its ranks, for the first reason that one of them gives. Throws it.
  [[noreturn]] void fail(Failure failure);
  void record(const Failure& failure, bool report = true);        // without throwing
  void report_to(Report report) { report_ = std::move(report); }  // the first failure that this rank notices
  // Throws the group's failure, if it has one.
  void check() const;
  bool failed() const { return segment_.failure().state.load(std::memory_order_acquire) == 2; }

  // Called now and then by whoever waits for `local_rank`; `since`: the beginning of the wait.
  struct Wait {
    const Member* member = nullptr;
    int local_rank = -1;  // -1: on another host
    Deadline since, looked;
    bool warned = false, gone = false;
  };
  Wait begin_wait(int local_rank) const { return {&member(local_rank), local_rank, Clock::now(), Clock::now()}; }
  Wait begin_wait(const Member& elsewhere) const { return {&elsewhere, -1, Clock::now(), Clock::now()}; }
  void look_around(Wait& wait);
  void yield(int& rounds, Line& line,
             std::uint32_t seen);  // spins, yields, then sleeps while the line's value is `seen`

  bool sleeps(int rounds) const;  // whether yield() has come to sleeping

  std::uint64_t operation_number() const { return operation_; }
  std::string operation() const;
  const Header& header() const { return header_; }
  const Member& member(int local_rank) const { return locals_[static_cast<std::size_t>(local_rank)]; }
  void spin(bool wanted) { spin_ = wanted; }
  bool spins() const { return spin_; }
  // While this rank waits for one that itself waits for another host: that one is to say whom.
  void be_patient(bool patient) { patience_ = patient ? 1.25 : 1; }

 private:
  void wait_long(Line& line, std::uint32_t value, int local_rank);
  void check_presence(Wait& wait);
  void check_interruption();
  void wake_all();

  Segment& segment_;
  const std::vector<Member> locals_;
  const int local_rank_;
  bool spin_;
  double patience_ = 1;
  const Limits limits_;
  const Hooks hooks_;
  Header header_;
  std::atomic<std::uint64_t> operation_{0};
  Report report_;
};

}  // namespace fnn::comm
