#include "comm/local.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/thread_team.h"
#include "comm/combine.h"
#include "comm/copy.h"
#include "comm/staged.h"

namespace fnn::comm {
namespace {

constexpr std::int64_t kFlat = 128 << 10;  // bytes: above, to wait twice and read less is faster
constexpr std::int64_t kBrief = 16 << 10;  // bytes, likewise for mapped arrays
constexpr std::int64_t kGrain = 64;        // elements: a cache line or more
constexpr std::int64_t kPage = 4096;

bool has_data(const Call& call) {
  return call.kind <= Kind::broadcast && call.count > 0 && !only_meets(call.algorithm);
}

std::int64_t staged_count(const Call& call, int ranks) {
  return call.kind == Kind::reduce_scatter ? call.count * ranks : call.count;
}

}  // namespace

Local::Local(Segment& segment, Watch& watch, int local_rank)
    : segment_(segment), watch_(watch), me_(local_rank), ranks_(segment.ranks()) {
  struct stat file{};
  FNN_CHECK(::fstat(segment.file(), &file) == 0, "the shared memory can't be looked at");
  file_size_ = file.st_size;
}

const Mapping* Local::find(const Call& call, std::int64_t* offset) const {
  if (!has_data(call)) return nullptr;
  const bool many = call.kind == Kind::reduce_scatter || call.kind == Kind::all_gather;
  const std::int64_t bytes = call.count * size_of(call.type) * (many ? ranks_ : 1);
  const void* whole = call.kind == Kind::reduce_scatter ? call.in : call.out;
  for (const auto& weak : mappings_) {
    const auto mapping = weak.lock();  // the caller's array keeps it alive
    if (mapping == nullptr || !mapping->holds(whole, bytes)) continue;
    *offset = static_cast<const std::byte*>(whole) - mapping->own();
    return mapping.get();
  }
  return nullptr;
}

bool Local::is_flat(const Call& call) const {
  return has_data(call) && call.algorithm == Algorithm::best &&
         staged_count(call, ranks_) * size_of(call.type) <= kFlat;
}

// Where to wait for others means to let them run, waiting once and copying is faster than waiting twice.
bool Local::is_brief(const Call& call) const {
  return !watch_.spins() && is_flat(call) && staged_count(call, ranks_) * size_of(call.type) <= kBrief;
}

void Local::meet(const Call& call, std::uint64_t operation) {
  mapping_ = call.algorithm == Algorithm::best && !is_brief(call) ? find(call, &offset_) : nullptr;
  const std::uint64_t mapped = mapping_ != nullptr ? static_cast<std::uint64_t>(mapping_->offset() + offset_) : 0;
  const Header own = header_of(call, operation, mapped);
  watch_.begin(own);
  if (ranks_ == 1) return;
  ++turn_;
  if (mapping_ == nullptr && is_flat(call)) copy_out(call);
  Line& line = segment_.rank(me_).arrived[turn_ % 2];
  line.header = own;
  watch_.publish(line, turn_);
  all_mapped_ = none_mapped_ = true;
  int odd = -1;
  for (int rank = 0; rank < ranks_; ++rank) {
    Line& other = segment_.rank(rank).arrived[turn_ % 2];
    if (rank != me_) watch_.wait(other, turn_, rank);
    if (!other.header.fits(own) && odd < 0) odd = rank;
    all_mapped_ = all_mapped_ && other.header.mapped != 0 && other.header.mapped == mapped;
    none_mapped_ = none_mapped_ && other.header.mapped == 0;
  }
  if (odd < 0) return;
  const Header theirs = segment_.rank(odd).arrived[turn_ % 2].header;
  const Failure failure = mismatch(own, watch_.member(me_), theirs, watch_.member(odd));
  watch_.record(failure);
  throw Failed(failure);  // each rank names itself and one that differs from it
}

void Local::run(const Call& call, int divisor) {
  if (!has_data(call)) return;
  if (ranks_ == 1) return alone(call);
  if (all_mapped_) return direct(call, divisor);
  if (none_mapped_ && is_flat(call)) return flat(call, divisor);
  Staged(segment_, watch_, me_, call, divisor).run(staged_, combined_);
}

void Local::alone(const Call& call) const { copy_bytes(call.out, call.in, call.count * size_of(call.type)); }

// Nobody may change his array before all have done their part of it.
void Local::leave_together() {
  ++done_;
  watch_.publish(segment_.rank(me_).done, done_);
  for (int rank = 0; rank < ranks_; ++rank) {
    if (rank != me_) watch_.wait(segment_.rank(rank).done, done_, rank);
  }
}

void Local::direct(const Call& call, int divisor) {
  const std::int64_t part = call.count * size_of(call.type);
  if (call.kind == Kind::all_gather) {
    for (int rank = 0; rank < ranks_; ++rank) copy_bytes(mapping_->of(rank) + offset_ + me_ * part, call.in, part);
  } else if (call.kind == Kind::broadcast) {
    copy_bytes(call.out, mapping_->of(call.root) + offset_, part);
  } else {
    push_sums(call, divisor);
  }
  leave_together();
}

void Local::push_sums(const Call& call, int divisor) {
  const std::int64_t item = size_of(call.type);
  const bool push = call.kind == Kind::all_reduce;
  const Range own = push ? share(call.count, me_, ranks_, kGrain) : Range{me_ * call.count, (me_ + 1) * call.count};
  std::vector<void*> arrays;
  for (int rank = 0; rank < ranks_; ++rank) arrays.push_back(mapping_->of(rank) + offset_ + own.begin * item);
  void* const out = call.out;
  const int pushed = call.to_first ? 1 : ranks_;
  combine(call.combine, call.type, push ? arrays.data() : &out, push ? pushed : 1, arrays.data(), ranks_, own.size(),
          divisor);
}

// Twice the room, by turns: who comes to the next operation but one knows that all have read this one's.
void Local::copy_out(const Call& call) {
  if (call.kind == Kind::broadcast && call.root != me_) return;
  copy_bytes(segment_.stage(me_, turn_), call.in, staged_count(call, ranks_) * size_of(call.type));
}

void Local::flat(const Call& call, int divisor) {
  const std::int64_t part = call.count * size_of(call.type);
  if (call.kind == Kind::broadcast) {
    if (me_ != call.root) copy_bytes(call.out, segment_.stage(call.root, turn_), part);
    return;
  }
  if (call.kind == Kind::all_gather) {
    auto* out = static_cast<std::byte*>(call.out);
    for (int rank = 0; rank < ranks_; ++rank) copy_bytes(out + rank * part, segment_.stage(rank, turn_), part);
    return;
  }
  if (call.to_first && me_ != 0) return;
  const std::int64_t offset = call.kind == Kind::reduce_scatter ? me_ * part : 0;
  std::vector<const void*> sources;
  for (int rank = 0; rank < ranks_; ++rank) sources.push_back(segment_.stage(rank, turn_) + offset);
  void* const out = call.out;
  combine(call.combine, call.type, &out, 1, sources.data(), ranks_, call.count, divisor);
}

std::shared_ptr<Mapping> Local::allocate(std::int64_t bytes, std::uint64_t operation) {
  Call call;
  call.kind = Kind::allocate;
  call.count = bytes;
  meet(call, operation);
  const std::int64_t rounded = std::max(kPage, (bytes + kPage - 1) / kPage * kPage), offset = file_size_;
  file_size_ += rounded * ranks_;
  // Reserved now: a page that isn't there when it's touched would kill the process.
  int code = EINTR;
  while (code == EINTR) code = ::posix_fallocate(segment_.file(), offset + rounded * me_, rounded);
  if (code != 0) {
    const Member& self = watch_.member(me_);
    watch_.fail({Trouble::died, self.rank, self.host, operation,
                 "rank " + std::to_string(self.rank) + " of host " + self.host + " can't share " +
                     std::to_string(bytes) + " bytes: " + std::strerror(code)});
  }
  if (ranks_ > 1) leave_together();
  auto mapping = std::make_shared<Mapping>(segment_, offset, rounded, me_);
  mappings_.erase(std::remove_if(mappings_.begin(), mappings_.end(), [](const auto& weak) { return weak.expired(); }),
                  mappings_.end());
  mappings_.push_back(mapping);
  return mapping;
}

}  // namespace fnn::comm
