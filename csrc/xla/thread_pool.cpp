#include "xla/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/thread_team.h"

namespace fnn::xla {
namespace {

// Kept until the caller and all helpers have let go of it: a helper may begin when everything is done.
class Job {
 public:
  Job(std::int64_t shares, ShareBody body, const void* data, int holders)
      : shares_(shares), body_(body), data_(data), holders_(holders) {}

  void work() {
    for (std::int64_t share; (share = next_.fetch_add(1, std::memory_order_relaxed)) < shares_;) {
      body_(data_, share, shares_);
      done_.fetch_add(1, std::memory_order_release);
    }
  }
  // The last shares are being worked on: it takes no longer than one of them does.
  void wait() const {
    for (int turns = 0; done_.load(std::memory_order_acquire) < shares_; ++turns) {
      if (turns > 1000) std::this_thread::yield();
    }
  }
  void let_go() {
    if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 private:
  const std::int64_t shares_;
  const ShareBody body_;
  const void* const data_;  // the caller's, which waits as long as a share is being worked on
  std::atomic<int> holders_;
  std::atomic<std::int64_t> next_{0}, done_{0};
};

void help(void* data) {
  Job* job = static_cast<Job*>(data);
  job->work();
  job->let_go();
}

}  // namespace

void for_shares_erased(const Call& call, std::int64_t shares, ShareBody body, const void* data) {
  const std::int64_t threads = std::min<std::int64_t>(call.pool_size(), ThreadTeam::instance().size());
  const int helpers = static_cast<int>(std::min(threads, shares)) - 1;
  if (helpers < 1) {
    for (std::int64_t share = 0; share < shares; ++share) body(data, share, shares);
    return;
  }
  Job* job = new Job(shares, body, data, 1 + helpers);
  for (int i = 0; i < helpers; ++i) {
    if (!call.schedule(help, job)) job->let_go();
  }
  job->work();
  job->wait();
  job->let_go();
}

}  // namespace fnn::xla
