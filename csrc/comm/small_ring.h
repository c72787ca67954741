// All-reduce of small arrays in a ring, where the number of steps is what counts: the arrays of all ranks go round
// whole, the header in front of the first one, and each rank combines all of them in the order of the ring. That takes
// n - 1 steps, where meeting first and then handing on parts takes 2 n - 1.
#pragma once
#include "base/memory_block.h"
#include "comm/call.h"
#include "comm/link.h"

namespace fnn::comm {

class SmallRing {
 public:
  SmallRing(Link& link, int position, int ranks) : link_(link), position_(position), ranks_(ranks) {}

  static bool takes(const Call& call, int ranks);
  // Returns what the rank before this one does; nothing is combined unless that fits `own`.
  Header all_reduce(const Call& call, int divisor, const Header& own);

 private:
  // Sends `first` bytes from `out`, and then what has come behind `header` of `in`, up to `bytes` in all; receives as
  // many. False if the header doesn't fit.
  bool exchange(const std::byte* out, std::byte* in, std::int64_t first, std::int64_t bytes, const Header& own);

  Link& link_;
  const int position_, ranks_;
  MemoryBlock scratch_;
};

}  // namespace fnn::comm
