#include "comm/staged.h"

#include <algorithm>
#include <vector>

#include "base/thread_team.h"
#include "comm/combine.h"
#include "comm/copy.h"

namespace fnn::comm {
namespace {

constexpr std::int64_t kGrain = 64;  // elements: slices begin on cache lines of their own

}  // namespace

Staged::Staged(Segment& segment, Watch& watch, int local_rank, const Call& call, int divisor)
    : segment_(segment),
      watch_(watch),
      me_(local_rank),
      ranks_(segment.ranks()),
      call_(call),
      divisor_(divisor),
      item_(size_of(call.type)),
      reduces_(call.kind == Kind::all_reduce || call.kind == Kind::reduce_scatter),
      gathers_(call.kind != Kind::reduce_scatter && !(call.to_first && local_rank != 0)),
      capacity_(std::max<std::int64_t>(1, kStage / item_ / (reduces_ ? ranks_ : 1) / kGrain * kGrain)) {}

std::int64_t Staged::blocks() const {
  const std::int64_t block = call_.kind == Kind::all_reduce ? capacity_ * ranks_ : capacity_;
  return (call_.count + block - 1) / block;
}

Staged::Slice Staged::slice(std::int64_t block, int rank) const {
  if (call_.kind == Kind::all_reduce) {
    const std::int64_t begin = block * capacity_ * ranks_;
    const Range range = share(std::min(call_.count - begin, capacity_ * ranks_), rank, ranks_, kGrain);
    return {begin + range.begin, range.size()};
  }
  const std::int64_t begin = block * capacity_, size = std::min(capacity_, call_.count - begin);
  if (call_.kind == Kind::broadcast) return {begin, rank == call_.root ? size : 0};
  return {rank * call_.count + begin, size};
}

void Staged::stage(std::int64_t block) {
  if (!reduces_) return;
  std::byte* stage = segment_.stage(me_, static_cast<unsigned>(block));
  for (int rank = 0; rank < ranks_; ++rank) {
    const Slice other = slice(block, rank);
    if (rank != me_ && other.size > 0) {
      copy_bytes(stage + rank * capacity_ * item_, in(other.begin), other.size * item_);
    }
  }
}

void Staged::combine_own(std::int64_t block) {
  const Slice own = slice(block, me_);
  if (own.size <= 0) return;
  std::byte* result = segment_.result(me_, static_cast<unsigned>(block));
  const std::int64_t bytes = own.size * item_;
  if (!reduces_) {
    const std::byte* from = call_.kind == Kind::all_gather ? in(own.begin - me_ * call_.count) : in(own.begin);
    copy_bytes(result, from, bytes);
    copy_bytes(out(own.begin), from, bytes);
    return;
  }
  std::vector<const void*> sources;
  for (int rank = 0; rank < ranks_; ++rank) {
    const std::byte* staged = segment_.stage(rank, static_cast<unsigned>(block)) + me_ * capacity_ * item_;
    sources.push_back(rank == me_ ? in(own.begin) : staged);
  }
  std::vector<void*> destinations;
  if (call_.kind == Kind::reduce_scatter) {
    destinations = {out(own.begin - me_ * call_.count)};
  } else if (call_.to_first) {
    destinations = {me_ == 0 ? out(own.begin) : result};
  } else {
    destinations = {out(own.begin), result};
  }
  combine(call_.combine, call_.type, destinations.data(), static_cast<int>(destinations.size()), sources.data(), ranks_,
          own.size, divisor_);
}

void Staged::collect(std::int64_t block) {
  for (int rank = 0; gathers_ && rank < ranks_; ++rank) {
    const Slice other = slice(block, rank);
    if (rank == me_ || other.size <= 0) continue;
    const std::byte* result = segment_.result(rank, static_cast<unsigned>(block));
    copy_bytes(out(other.begin), result, other.size * item_);
  }
}

// Why two places are enough: whoever has staged block k has collected block k - 2, and whoever waits for block k to be
// combined by all knows that all have read what was staged of it.
void Staged::run(std::uint32_t& staged, std::uint32_t& combined) {
  const std::int64_t count = blocks();
  RankState& own = segment_.rank(me_);
  const auto wait_for_all = [&](Line RankState::* line, std::uint32_t value) {
    for (int rank = 0; rank < ranks_; ++rank) {
      if (rank != me_) watch_.wait(segment_.rank(rank).*line, value, rank);
    }
  };
  if (count > 0) {
    stage(0);
    watch_.publish(own.staged, ++staged);
  }
  for (std::int64_t block = 0; block < count; ++block) {
    const std::uint32_t needed = staged;
    if (block + 1 < count) {
      stage(block + 1);
      watch_.publish(own.staged, ++staged);
    }
    wait_for_all(&RankState::staged, needed);
    combine_own(block);
    watch_.publish(own.combined, ++combined);
    wait_for_all(&RankState::combined, combined);
    collect(block);
  }
}

}  // namespace fnn::comm
