#include "comm/group.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "comm/greeting.h"
#include "comm/message.h"
#include "comm/shm_link.h"

namespace fnn::comm {
namespace {

constexpr double kPatience = 5;
const std::string kMemory = "memory";

// How often this process's line was forked since the first group. To ask the system for the process's number instead
// costs a quarter of a small operation.
std::atomic<int> forks{0};

int count_forks() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
  FNN_CHECK(registered == 0, "forks can't be noticed");
  return forks.load(std::memory_order_relaxed);
}

JoinRequest with_door(JoinRequest request, const std::string& door) {
  request.self.door = door;
  request.self.pid = ::getpid();
  request.self.machine = one_word(request.self.machine);  // as the others will read it
  request.self.host = one_word(request.self.host);
  return request;
}

}  // namespace

bool Handle::wait_for(double seconds) {
  std::unique_lock<std::mutex> lock(mutex_);
  return ended_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return done_; });
}

void Handle::check() const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (failure_ != nullptr) throw Failed(*failure_);
}

void Handle::end(std::unique_ptr<Failed> failure) {
  std::lock_guard<std::mutex> lock(mutex_);
  failure_ = std::move(failure);
  done_ = true;
  ended_.notify_all();
}

Group::Group(const JoinRequest& request, const Limits& limits, double cores, Hooks hooks)
    : request_(with_door(request, "fastnn-" + hex(random_bytes(16)))), hooks_(std::move(hooks)), forks_(count_forks()) {
  const Deadline deadline = after(request_.timeout);
  const Fd door = listen_at({"unix:" + request_.self.door, 0});
  party_ = join(request_, hooks_);
  const Member& self = party_.members[static_cast<std::size_t>(rank())];
  for (const Member& member : party_.members) {
    if (member.machine != self.machine) continue;
    if (member.rank == rank()) local_rank_ = static_cast<int>(locals_.size());
    locals_.push_back(member);
  }
  open_memory(locals_[0].door, door.get(), deadline);
  watch_ = std::make_unique<Watch>(*segment_, locals_, local_rank_, false, limits, hooks_);
  local_ = std::make_unique<Local>(*segment_, *watch_, local_rank_);
  make_ring();
  appear(deadline);
  if (host_count() > 1) {
    if (request_.place.is_unix()) fail_to_join("init: ranks of several hosts need a host and a port to meet at");
    hosts_ = std::make_unique<Hosts>(*local_, *watch_, party_, rank());
    hosts_->connect(request_, party_, limits.heartbeat, hooks_, deadline);
    control_ = std::make_unique<Control>(*watch_, party_.members, rank(), std::move(party_.lines), request_.secret,
                                         limits.heartbeat);
    watch_->report_to([this](const Failure& failure) { control_->report(failure); });
  }
  party_.lines.clear();
  party_.data = Fd();
  spins_ = local_world() <= std::min<double>(this->cores(), cores);
}

Group::~Group() { close(); }

void Group::make_ring() {
  std::vector<std::vector<int>> order;
  for (int rank = 0; rank < local_world(); ++rank) order.push_back({rank});
  link_ = std::make_unique<ShmLink>(*segment_, *watch_, local_rank_);
  ring_ = std::make_unique<Ring>(*link_, order, local_rank_);
}

// The first rank of the host makes the memory and hands it to those who come to its door and know the secret.
void Group::open_memory(const std::string& door, int listening, Deadline deadline) {
  const int ranks = local_world();
  if (local_rank_ > 0) {
    std::string why;
    const Fd line = try_connect({"unix:" + door, 0}, deadline, &why);
    Fd file;
    if (line && is_same_user(line.get()) &&
        greet_as_client(line.get(), request_.secret, kMemory, deadline, hooks_) == Greeting::done &&
        wait_for(line.get(), POLLIN, deadline, hooks_)) {
      file = receive_descriptor(line.get());
    }
    if (!file) {
      fail_to_join("init: rank " + std::to_string(locals_[0].rank) + " of host " + locals_[0].host +
                       " did not hand over the host's shared memory",
                   locals_[0].rank);
    }
    segment_ = std::make_unique<Segment>(std::move(file), ranks);
    return;
  }
  segment_ = std::make_unique<Segment>(Segment::create_file(ranks), ranks);
  for (int served = 1; served < ranks;) {
    if (!wait_for(listening, POLLIN, deadline, hooks_)) {
      fail_to_join("init: only " + std::to_string(served) + " of the " + std::to_string(ranks) + " ranks of host " +
                   locals_[0].host + " came for its shared memory");
    }
    const Fd line = accept_one(listening);
    if (!line || !is_same_user(line.get())) continue;
    const Deadline soon = std::min(deadline, after(kPatience));
    if (greet_as_server(line.get(), request_.secret, kMemory, soon, hooks_) &&
        send_descriptor(line.get(), segment_->file())) {
      ++served;
    }
  }
}

// From here on the others notice it if this process ends.
void Group::appear(Deadline deadline) {
  FNN_CHECK(segment_->lock(local_rank_), "the lock of this rank can't be had");
  RankState& own = segment_->rank(local_rank_);
  own.pid = ::getpid();
  CPU_ZERO(&own.cpus);
  sched_getaffinity(0, sizeof own.cpus, &own.cpus);
  own.presence.store(kPresent, std::memory_order_seq_cst);
  for (int rank = 0; rank < local_world(); ++rank) {
    while (segment_->rank(rank).presence.load(std::memory_order_acquire) == kAbsent) {
      const Member& member = locals_[static_cast<std::size_t>(rank)];
      if (seconds_until(deadline) < 0) fail_to_join("init: " + name_of(member) + " did not join", member.rank);
      if (hooks_.interrupted()) throw Failed({Trouble::interrupted, -1, "", 0, "init: interrupted by a signal"});
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
}

int Group::cores() const {
  cpu_set_t all;
  CPU_ZERO(&all);
  for (int rank = 0; rank < local_world(); ++rank) CPU_OR(&all, &all, &segment_->rank(rank).cpus);
  return CPU_COUNT(&all);
}

bool Group::is_forked() const { return forks.load(std::memory_order_relaxed) != forks_; }

void Group::check_process() const {
  if (is_forked()) {
    throw Failed({Trouble::closed, rank(), "", operation_,
                  "the communicator belongs to process " + std::to_string(request_.self.pid) +
                      ", from which this one was forked; make a new one"});
  }
}

void Group::check_open() const {
  if (closed_) throw Failed({Trouble::closed, rank(), "", operation_, "the communicator is closed"});
}

void Group::execute(const Call& call) {
  check_open();
  watch_->check();
  local_->meet(call, ++operation_);
  if (hosts_ != nullptr) return hosts_->run(call, operation_);
  const int divisor = call.combine == Combine::mean ? world() : 1;
  if (call.algorithm == Algorithm::ring && local_world() > 1) return ring_->run(call, divisor);
  local_->run(call, divisor);
}

void Group::run(const Call& call) {
  check_process();
  {
    std::unique_lock<std::mutex> queue(worker_->mutex);
    if (!worker_->queue.empty() || worker_->working) {
      queue.unlock();
      const auto handle = start(call, nullptr);
      while (!handle->wait_for(0.05)) {
        if (hooks_.interrupted())
          throw Failed({Trouble::interrupted, rank(), "", operation_, "interrupted by a signal"});
      }
      return handle->check();
    }
  }
  std::lock_guard<std::mutex> lock(turn_);
  watch_->spin(spins_);
  execute(call);
}

std::shared_ptr<Mapping> Group::allocate(std::int64_t bytes) {
  check_process();
  std::lock_guard<std::mutex> lock(turn_);
  check_open();
  return local_->allocate(bytes, ++operation_);
}

void Group::announce(int counter, std::uint32_t value) {
  check_process();
  std::lock_guard<std::mutex> lock(turn_);
  check_open();
  watch_->publish(segment_->rank(local_rank_).counters[counter], value);
}

void Group::await(int counter, int local_rank, std::uint32_t value) {
  check_process();
  std::lock_guard<std::mutex> lock(turn_);
  check_open();
  watch_->spin(spins_);
  watch_->wait(segment_->rank(local_rank).counters[counter], value, local_rank);
}

std::shared_ptr<Handle> Group::start(const Call& call, std::shared_ptr<void> keep) {
  check_process();
  auto handle = std::make_shared<Handle>();
  std::lock_guard<std::mutex> queue(worker_->mutex);
  check_open();
  worker_->queue.push_back({call, std::move(keep), handle});
  if (!worker_->thread.joinable()) worker_->thread = std::thread([this] { work(); });
  worker_->queued.notify_one();
  return handle;
}

void Group::work() {
  std::unique_lock<std::mutex> queue(worker_->mutex);
  for (;;) {
    worker_->queued.wait(queue, [&] { return stopping_ || !worker_->queue.empty(); });
    if (worker_->queue.empty()) return;
    Task task = std::move(worker_->queue.front());
    worker_->queue.pop_front();
    worker_->working = true;
    queue.unlock();
    std::unique_ptr<Failed> failure;
    try {
      std::lock_guard<std::mutex> lock(turn_);
      if (stopping_)
        throw Failed({Trouble::closed, rank(), "", operation_, "the communicator was closed before it began"});
      watch_->spin(false);  // the caller computes meanwhile: its core isn't this thread's
      execute(task.call);
    } catch (const Failed& failed) {
      failure = std::make_unique<Failed>(failed);
    } catch (const std::exception& error) {
      failure = std::make_unique<Failed>(Failure{Trouble::closed, rank(), "", operation_, error.what()});
    }
    task.keep.reset();
    queue.lock();
    worker_->working = false;
    task.handle->end(std::move(failure));
  }
}

void Group::close() {
  if (is_forked()) {
    static_cast<void>(worker_.release());  // there is no such thread here, and nobody to wake
    static_cast<void>(control_.release());
    return;
  }
  if (segment_ == nullptr || closed_) return;
  segment_->rank(local_rank_).presence.store(kLeft, std::memory_order_seq_cst);
  {
    std::lock_guard<std::mutex> queue(worker_->mutex);
    stopping_ = true;
  }
  worker_->queued.notify_all();
  if (worker_->thread.joinable()) worker_->thread.join();
  std::lock_guard<std::mutex> lock(turn_);
  closed_ = true;
  if (control_ != nullptr) control_->close();
  hosts_.reset();
}

}  // namespace fnn::comm
