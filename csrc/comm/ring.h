// A ring of ranks: each sends to the next one and receives from the one before, both at once, in chunks, and hands on a
// chunk as soon as it has it.
//
// All-reduce (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009): the
// array has one part for each rank; parts go round once while they are combined, and once more complete, so that each
// rank sends 2 (n - 1) / n of the array. Every part is combined in the order of the ring from its own place on: the
// same order in every run, and since it happens once for each element, all ranks get the same bits.
#pragma once
#include <cstdint>
#include <vector>

#include "base/memory_block.h"
#include "comm/call.h"
#include "comm/link.h"

namespace fnn::comm {

class Ring {
 public:
  // `order`: whose parts of an array each member of the ring stands for, in the order of the ring; this one is at
  // `position`. Of several (the ranks of a host) the first one is the member itself.
  Ring(Link& link, std::vector<std::vector<int>> order, int position);

  // Tells both neighbours what this rank is about to do; returns what the one before it does.
  Header meet(const Header& own);
  // Of a reduce_scatter `out` takes the parts of all ranks that this member stands for, one behind the other.
  void run(const Call& call, int divisor);
  int previous() const { return at(position_ - 1)[0]; }

 private:
  struct Part {
    std::byte* at;
    std::int64_t count;
    const std::byte* own;  // what it's combined with when it comes, or null
    int divisor = 1;       // by which it's divided then
  };
  // Sends `first`, and the first `handed_on` of the parts that it receives.
  void pass(const Call& call, const std::vector<Part>& first, const std::vector<Part>& parts, std::size_t handed_on);

  void all_reduce(const Call& call, int divisor);
  void reduce_scatter(const Call& call, int divisor);
  void all_gather(const Call& call);
  void broadcast(const Call& call);
  int place(int position) const { return (position + 2 * ranks_) % ranks_; }
  const std::vector<int>& at(int position) const { return order_[static_cast<std::size_t>(place(position))]; }

  Link& link_;
  const std::vector<std::vector<int>> order_;
  const int position_, ranks_;
  MemoryBlock scratch_, chunks_;
};

}  // namespace fnn::comm
