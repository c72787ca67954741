// Collectives of several hosts: inside a host over shared memory, between the first ranks ("leaders") of all hosts in a
// ring over TCP. On every host the ranks take part in the same local operations, in the same order.
#pragma once
#include <memory>
#include <vector>

#include "comm/local.h"
#include "comm/rendezvous.h"
#include "comm/ring.h"
#include "comm/small_ring.h"

namespace fnn::comm {

// The ranks of each machine, machines in the order of their first ranks.
std::vector<std::vector<int>> hosts_of(const std::vector<Member>& members);

class Hosts {
 public:
  Hosts(Local& local, Watch& watch, const Party& party, int rank);

  // Leaders connect to the leader of the next host, and let that of the one before come. Others do nothing.
  void connect(const JoinRequest& request, const Party& party, double heartbeat, const Hooks& hooks, Deadline deadline);
  // Once the ranks of this host have met.
  void run(const Call& call, std::uint64_t operation);

 private:
  bool leads() const { return local_rank_ == 0; }
  int host_count() const { return static_cast<int>(hosts_.size()); }
  int divisor(const Call& call) const { return call.combine == Combine::mean ? static_cast<int>(members_.size()) : 1; }
  void meet_leaders(const Header& own);
  void check(const Header& own, const Header& theirs);
  void share_result(Call call, std::uint64_t operation);  // the leader's `out` becomes everyone's on the host
  void all_reduce(const Call& call, std::uint64_t operation);
  void reduce_scatter(const Call& call, std::uint64_t operation);
  void all_gather(const Call& call, std::uint64_t operation);
  void broadcast(const Call& call, std::uint64_t operation);
  void barrier(std::uint64_t operation);

  Local& local_;
  Watch& watch_;
  const std::vector<Member> members_;
  const std::vector<std::vector<int>> hosts_;
  const int rank_;
  int host_ = 0, local_rank_ = 0;
  std::unique_ptr<Link> link_;  // of a leader
  std::unique_ptr<Ring> ring_;
  std::unique_ptr<SmallRing> small_ring_;
  MemoryBlock scratch_;
};

}  // namespace fnn::comm
