// A group of processes that compute together: what a rank of it knows and can do.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/call.h"
#include "comm/control.h"
#include "comm/hosts.h"
#include "comm/local.h"
#include "comm/rendezvous.h"
#include "comm/ring.h"

namespace fnn::comm {

// An operation on its way.
class Handle {
 public:
  // Whether it has ended, after at most this time.
  bool wait_for(double seconds);
  void check() const;  // throws its failure, once it has ended

 private:
  friend class Group;
  void end(std::unique_ptr<Failed> failure);

  mutable std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
  std::unique_ptr<Failed> failure_;
};

class Group {
 public:
  Group(const JoinRequest& request, const Limits& limits, double cores, Hooks hooks);
  ~Group();

  int rank() const { return request_.self.rank; }
  int world() const { return request_.world; }
  int local_rank() const { return local_rank_; }
  int host_count() const { return static_cast<int>(hosts_of(party_.members).size()); }
  int local_world() const { return static_cast<int>(locals_.size()); }
  int cores() const;  // that the ranks of the host may run on, all together
  const std::vector<Member>& members() const { return party_.members; }

  // All ranks call these in the same order. They throw Failed, and so does everything after a failure.
  void run(const Call& call);
  // Runs it on a thread of its own, after those started before; `keep` is let go afterwards.
  std::shared_ptr<Handle> start(const Call& call, std::shared_ptr<void> keep);
  std::shared_ptr<Mapping> allocate(std::int64_t bytes);
  // For what ranks of the host hand to each other outside of this memory, GPUs' arrays: a rank's two counters, which
  // only grow, and to wait until another one's has come that far. Throws if that rank is gone.
  void announce(int counter, std::uint32_t value);
  void await(int counter, int local_rank, std::uint32_t value);
  // Leaves the group: who still waits for this rank learns it.
  void close();

 private:
  struct Task {
    Call call;
    std::shared_ptr<void> keep;
    std::shared_ptr<Handle> handle;
  };

  void open_memory(const std::string& door, int listening, Deadline deadline);
  void make_ring();
  void appear(Deadline deadline);
  void execute(const Call& call);
  void work();
  void check_open() const;
  bool is_forked() const;
  void check_process() const;

  const JoinRequest request_;
  const Hooks hooks_;
  const int forks_;  // before this process had the group
  Party party_;
  std::vector<Member> locals_;
  int local_rank_ = 0;
  std::unique_ptr<Segment> segment_;
  std::unique_ptr<Watch> watch_;
  std::unique_ptr<Local> local_;
  std::unique_ptr<Link> link_;  // with ring_, for who asks for a ring on one host
  std::unique_ptr<Ring> ring_;
  std::unique_ptr<Hosts> hosts_;  // with control_, where there are several
  std::unique_ptr<Control> control_;

  std::mutex turn_;  // one operation at a time
  std::uint64_t operation_ = 0;
  bool spins_ = false, closed_ = false;

  // On the heap, so that a forked child, which doesn't have the thread, can leave it alone.
  struct Worker {
    std::mutex mutex;
    std::condition_variable queued;
    std::deque<Task> queue;
    bool working = false;
    std::thread thread;
  };
  std::unique_ptr<Worker> worker_ = std::make_unique<Worker>();
  std::atomic<bool> stopping_{false};
};

}  // namespace fnn::comm
