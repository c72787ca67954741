// Collectives among the ranks of one host, over memory that they share.
//
//   direct: arrays that lie in that memory (rank r combines slice r of all of them and writes it to all): no copies,
//           3.7-7 times as fast as the best of gloo, MPICH and Open MPI in a prototype, and at the memory's limit
//   flat:   small private arrays: each copies its own out, waits once, and combines all
//   staged: larger private arrays, in blocks that stay in the cache: while some are combined the next ones are copied
#pragma once
#include <memory>
#include <vector>

#include "comm/segment.h"
#include "comm/watch.h"

namespace fnn::comm {

class Local {
 public:
  Local(Segment& segment, Watch& watch, int local_rank);

  // All ranks of the host call these in the same order. They throw Failed.
  //
  // What each rank wants is compared before anything is touched; nothing of an operation is done yet.
  void meet(const Call& call, std::uint64_t operation);
  // The operation that they met for, among the ranks of the host; `divisor`: of a mean, the ranks of all hosts, or 1.
  void run(const Call& call, int divisor);
  // Memory that all of them see, of this size for each; zeros.
  std::shared_ptr<Mapping> allocate(std::int64_t bytes, std::uint64_t operation);

 private:
  const Mapping* find(const Call& call, std::int64_t* offset) const;
  bool is_flat(const Call& call) const;
  bool is_brief(const Call& call) const;
  void direct(const Call& call, int divisor);
  void push_sums(const Call& call, int divisor);
  void copy_out(const Call& call);
  void flat(const Call& call, int divisor);
  void alone(const Call& call) const;
  void leave_together();

  Segment& segment_;
  Watch& watch_;
  const int me_, ranks_;
  std::uint32_t turn_ = 0, done_ = 0, staged_ = 0, combined_ = 0;  // where the lines stand
  std::int64_t file_size_ = 0;
  std::vector<std::weak_ptr<Mapping>> mappings_;
  // What meet() has found for run().
  const Mapping* mapping_ = nullptr;
  std::int64_t offset_ = 0;
  bool all_mapped_ = false, none_mapped_ = false;
};

}  // namespace fnn::comm
