// The memory that the ranks of a host share: a file without a name (memfd), gone with its last process, so that
// nothing is left behind however they end.
//
//   control: the group's failure, and for each rank its flags and headers
//   stages:  for each rank, twice, what others read of it, and twice what it has combined
//   arrays:  grown by allocate(): of each rank one of equal size
#pragma once
#include <sched.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/call.h"
#include "comm/socket.h"

namespace fnn::comm {

inline constexpr std::int64_t kStage = 256 << 10;  // bytes; fits the second-level cache with those of a neighbour

// A counter that others wait on, and what it announces, on one cache line.
struct alignas(64) Line {
  std::atomic<std::uint32_t> value;
  std::atomic<std::uint32_t> sleepers;
  Header header;
};
static_assert(sizeof(Line) == 64, "one cache line");

struct RankState {
  Line arrived[2];   // at an operation, by the parity of its number
  Line done;         // with an operation over mapped arrays
  Line staged;       // blocks
  Line combined;     // blocks
  Line sent, taken;  // bytes that have gone to the next rank of the ring, and those taken from the one before
  Line bell;         // rung by both neighbours
  Line counters[2];  // of what lies outside of this memory (see Group::announce)
  std::atomic<int> presence;
  int pid;
  cpu_set_t cpus;
};
enum Presence { kAbsent, kPresent, kLeft };

struct SharedFailure {
  std::atomic<std::uint32_t> state;  // 0: none, 1: being written, 2: to be read
  std::int32_t trouble, rank;
  std::uint64_t operation;
  char host[128], text[1024];
};

class Segment {
 public:
  Segment(Fd file, int ranks);  // of create_file() or received
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  static Fd create_file(int ranks);

  int ranks() const { return ranks_; }
  int file() const { return file_.get(); }
  SharedFailure& failure() const { return *reinterpret_cast<SharedFailure*>(base_); }
  RankState& rank(int i) const { return reinterpret_cast<RankState*>(base_ + kControl)[i]; }
  std::byte* stage(int rank, unsigned parity) const { return stages_ + (rank * 4 + parity % 2) * kStage; }
  std::byte* result(int rank, unsigned parity) const { return stages_ + (rank * 4 + 2 + parity % 2) * kStage; }

  // A process holds the lock of its rank until it ends, however it ends: children don't inherit it.
  bool lock(int rank) const;
  bool is_locked(int rank) const;  // by another process

 private:
  static constexpr std::size_t kControl = 4096;
  static std::size_t control_size(int ranks);

  Fd file_;
  const int ranks_;
  std::byte* base_ = nullptr;
  std::byte* stages_ = nullptr;
};

// Arrays of all ranks of the host, of equal size, that all of them see.
class Mapping {
 public:
  Mapping(const Segment& segment, std::int64_t offset, std::int64_t bytes_of_one, int local_rank);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::byte* of(int rank) const { return base_ + rank * bytes_; }
  std::byte* own() const { return of(local_rank_); }
  std::int64_t bytes() const { return bytes_; }
  std::int64_t offset() const { return offset_; }  // in the segment's file: equal on all ranks
  bool holds(const void* data, std::int64_t bytes) const {
    const auto* at = static_cast<const std::byte*>(data);
    return at >= own() && at + bytes <= own() + bytes_;
  }

 private:
  const std::int64_t offset_, bytes_;
  const int ranks_, local_rank_;
  std::byte* base_ = nullptr;
};

}  // namespace fnn::comm
