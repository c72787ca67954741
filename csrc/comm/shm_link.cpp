#include "comm/shm_link.h"

#include <algorithm>

#include "comm/copy.h"

namespace fnn::comm {
namespace {

// Copies into or out of a round buffer of `room` bytes, whose position `at` is.
template <class Copy>
void go_round(std::uint32_t at, std::uint32_t room, std::uint32_t count, const Copy& copy) {
  const std::uint32_t begin = at % room, first = std::min(count, room - begin);
  copy(begin, 0u, first);
  if (first < count) copy(0u, first, count - first);
}

}  // namespace

ShmLink::ShmLink(Segment& segment, Watch& watch, int local_rank)
    : segment_(segment),
      watch_(watch),
      me_(local_rank),
      next_((local_rank + 1) % segment.ranks()),
      previous_((local_rank + segment.ranks() - 1) % segment.ranks()) {}

std::int64_t ShmLink::send(const void* bytes, std::int64_t count) {
  const std::uint32_t taken = segment_.rank(next_).taken.value.load(std::memory_order_acquire);
  const auto now = static_cast<std::uint32_t>(std::min<std::int64_t>(count, kRoom - (sent_ - taken)));
  if (now == 0) return 0;
  std::byte* room = segment_.stage(me_, 0);
  go_round(sent_, kRoom, now, [&](std::uint32_t to, std::uint32_t from, std::uint32_t size) {
    copy_bytes(room + to, static_cast<const std::byte*>(bytes) + from, size);
  });
  sent_ += now;
  segment_.rank(me_).sent.value.store(sent_, std::memory_order_release);
  watch_.ring(segment_.rank(next_).bell);
  return now;
}

std::int64_t ShmLink::receive(void* bytes, std::int64_t count) {
  const std::uint32_t sent = segment_.rank(previous_).sent.value.load(std::memory_order_acquire);
  const auto now = static_cast<std::uint32_t>(std::min<std::int64_t>(count, sent - received_));
  if (now == 0) return 0;
  const std::byte* room = segment_.stage(previous_, 0);
  go_round(received_, kRoom, now, [&](std::uint32_t from, std::uint32_t to, std::uint32_t size) {
    copy_bytes(static_cast<std::byte*>(bytes) + to, room + from, size);
  });
  received_ += now;
  segment_.rank(me_).taken.value.store(received_, std::memory_order_release);
  watch_.ring(segment_.rank(previous_).bell);
  return now;
}

// Both neighbours ring one bell: a rank that slept until one of them has done something would miss the other one.
void ShmLink::idle(int& rounds, bool /*sends*/, bool receives) {
  Line& bell = segment_.rank(me_).bell;
  const std::uint32_t rung = bell.value.load(std::memory_order_acquire);
  if (rounds == 0) wait_ = watch_.begin_wait(receives ? previous_ : next_);
  if (rung != heard_) {  // since before the last look: look again
    heard_ = rung;
    ++rounds;
    return;
  }
  if (!wait_.gone) watch_.yield(rounds, bell, heard_);
  if (bell.value.load(std::memory_order_acquire) != heard_) return;
  if (rounds % 64 == 0 || watch_.sleeps(rounds)) watch_.look_around(wait_);
}

// The room may be written by another kind of operation next: the neighbour must have read all.
void ShmLink::finish() {
  const auto& taken = segment_.rank(next_).taken.value;
  for (int rounds = 0; taken.load(std::memory_order_acquire) != sent_;) idle(rounds, true, false);
}

}  // namespace fnn::comm
