#include "comm/small_ring.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "comm/combine.h"
#include "comm/copy.h"

namespace fnn::comm {
namespace {

constexpr std::int64_t kSmall = 64 << 10;  // bytes that a rank receives

}  // namespace

bool SmallRing::takes(const Call& call, int ranks) {
  return call.kind == Kind::all_reduce && !only_meets(call.algorithm) && call.wire == Wire::full && call.count > 0 &&
         call.count * size_of(call.type) <= kSmall / std::max(1, ranks - 1);
}

bool SmallRing::exchange(const std::byte* out, std::byte* in, std::int64_t first, std::int64_t bytes,
                         const Header& own) {
  constexpr std::int64_t kHeader = sizeof(Header);
  std::int64_t sent = 0, got = 0;
  link_.begin(bytes);
  for (int rounds = 0; sent < bytes || got < bytes;) {
    const bool own_part = sent < first;
    const std::byte* from = own_part ? out + sent : in + kHeader + (sent - first);
    const std::int64_t there = own_part ? first - sent : std::min(bytes - sent, got - kHeader - (sent - first));
    std::int64_t moved = there > 0 ? link_.send(from, there) : 0;
    sent += moved;
    if (got < bytes) {
      const bool was_open = got < kHeader;
      const std::int64_t now = link_.receive(in + got, bytes - got);
      got += now;
      moved += now;
      if (was_open && got >= kHeader) {
        Header theirs;
        std::memcpy(static_cast<void*>(&theirs), in, sizeof theirs);
        if (!theirs.fits(own)) return false;
      }
    }
    if (moved > 0) {
      rounds = 0;
    } else {
      link_.idle(rounds, there > 0, got < bytes);
    }
  }
  return true;
}

Header SmallRing::all_reduce(const Call& call, int divisor, const Header& own) {
  constexpr std::int64_t kHeader = sizeof(Header);
  const std::int64_t part = call.count * size_of(call.type), first = kHeader + part;
  const std::int64_t bytes = kHeader + part * (ranks_ - 1);
  const std::int64_t room = (first + 63) / 64 * 64;
  std::byte* out = scratch_.reserve(static_cast<std::size_t>(room + bytes));
  std::byte* in = out + room;
  std::memcpy(out, &own, sizeof own);
  copy_bytes(out + kHeader, call.in, part);
  const bool fits = exchange(out, in, first, bytes, own);
  if (fits) {
    std::vector<const void*> sources;
    for (int position = 0; position < ranks_; ++position) {
      const int before = (position_ - position - 1 + ranks_) % ranks_;  // of those that came
      sources.push_back(position == position_ ? out + kHeader : in + kHeader + before * part);
    }
    void* const to = call.out;
    combine(call.combine, call.type, &to, 1, sources.data(), ranks_, call.count, divisor);
  }
  Header theirs;
  std::memcpy(static_cast<void*>(&theirs), in, sizeof theirs);
  return theirs;
}

}  // namespace fnn::comm
