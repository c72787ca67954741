// Large private arrays, block by block through memory that the host's ranks share.
//
// A block is cut into one slice for each rank. Each rank copies the others' slices out of its array ("stages" them),
// combines its own slice of all ranks, and collects what the others have combined. Blocks take turns in two places, so
// that a rank stages the next one before it waits for the others.
#pragma once
#include "comm/segment.h"
#include "comm/watch.h"

namespace fnn::comm {

class Staged {
 public:
  Staged(Segment& segment, Watch& watch, int local_rank, const Call& call, int divisor);
  // `staged`, `combined`: where this rank's lines stand before and after.
  void run(std::uint32_t& staged, std::uint32_t& combined);

 private:
  struct Slice {
    std::int64_t begin, size;  // in elements of the whole array
  };
  std::int64_t blocks() const;
  Slice slice(std::int64_t block, int rank) const;
  void stage(std::int64_t block);
  void combine_own(std::int64_t block);
  void collect(std::int64_t block);

  const std::byte* in(std::int64_t element) const { return static_cast<const std::byte*>(call_.in) + element * item_; }
  std::byte* out(std::int64_t element) const { return static_cast<std::byte*>(call_.out) + element * item_; }

  Segment& segment_;
  Watch& watch_;
  const int me_, ranks_;
  const Call& call_;
  const int divisor_;
  const std::int64_t item_;
  const bool reduces_, gathers_;  // what this rank does
  const std::int64_t capacity_;   // elements of a slice
};

}  // namespace fnn::comm
