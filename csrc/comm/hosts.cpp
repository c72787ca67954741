#include "comm/hosts.h"

#include <poll.h>

#include <algorithm>
#include <exception>
#include <thread>

#include "comm/copy.h"
#include "comm/message.h"
#include "comm/tcp_link.h"

namespace fnn::comm {
namespace {

constexpr double kPatience = 5;
const std::string kPurpose = "data";

Fd connect_to(const Member& member, const JoinRequest& request, const Hooks& hooks, Deadline deadline) {
  std::string why = "no answer";
  while (seconds_until(deadline) > 0) {
    Fd fd = try_connect({member.address, member.port}, deadline, &why);
    if (fd && greet_as_client(fd.get(), request.secret, kPurpose, deadline, hooks) == Greeting::done &&
        send_all(fd.get(), sealed(request.secret, std::to_string(request.self.rank)), deadline, hooks)) {
      return fd;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  fail_to_join("init: rank " + std::to_string(member.rank) + " of host " + member.host + " can't be reached at " +
                   member.address + ":" + std::to_string(member.port) + " (" + why + ")",
               member.rank);
}

// Strangers may knock here, too: they are dropped.
Fd await(const Member& member, int listening, const JoinRequest& request, const Hooks& hooks, Deadline deadline) {
  while (wait_for(listening, POLLIN, deadline, hooks)) {
    Fd fd = accept_one(listening);
    const Deadline soon = std::min(deadline, after(kPatience));
    const std::string wanted = std::to_string(member.rank);
    std::string message(sealed(request.secret, wanted).size(), '\0'), text;
    if (fd && greet_as_server(fd.get(), request.secret, kPurpose, soon, hooks) &&
        receive_all(fd.get(), message.data(), message.size(), soon, hooks) && opened(request.secret, message, &text) &&
        text == wanted) {
      return fd;
    }
  }
  fail_to_join("init: rank " + std::to_string(member.rank) + " of host " + member.host + " did not connect",
               member.rank);
}

}  // namespace

std::vector<std::vector<int>> hosts_of(const std::vector<Member>& members) {
  std::vector<std::vector<int>> hosts;
  for (const Member& member : members) {
    const auto same = [&](const std::vector<int>& host) {
      return members[static_cast<std::size_t>(host[0])].machine == member.machine;
    };
    const auto found = std::find_if(hosts.begin(), hosts.end(), same);
    if (found != hosts.end()) {
      found->push_back(member.rank);
    } else {
      hosts.push_back({member.rank});
    }
  }
  return hosts;
}

Hosts::Hosts(Local& local, Watch& watch, const Party& party, int rank)
    : local_(local), watch_(watch), members_(party.members), hosts_(hosts_of(party.members)), rank_(rank) {
  for (std::size_t host = 0; host < hosts_.size(); ++host) {
    const auto found = std::find(hosts_[host].begin(), hosts_[host].end(), rank);
    if (found == hosts_[host].end()) continue;
    host_ = static_cast<int>(host);
    local_rank_ = static_cast<int>(found - hosts_[host].begin());
  }
}

void Hosts::connect(const JoinRequest& request, const Party& party, double heartbeat, const Hooks& hooks,
                    Deadline deadline) {
  if (!leads()) return;
  const std::size_t count = hosts_.size(), here = static_cast<std::size_t>(host_);
  const Member& next = members_[static_cast<std::size_t>(hosts_[(here + 1) % count][0])];
  const Member& previous = members_[static_cast<std::size_t>(hosts_[(here + count - 1) % count][0])];
  Fd to_next;
  std::exception_ptr failure;
  // Beside the waiting: if all leaders first waited for the one before, they would do so for ever.
  std::thread connecting([&] {
    try {
      to_next = connect_to(next, request, Hooks(), deadline);
    } catch (...) {
      failure = std::current_exception();
    }
  });
  Fd from_previous;
  try {
    from_previous = await(previous, party.data.get(), request, hooks, deadline);
  } catch (...) {
    if (failure == nullptr) failure = std::current_exception();
  }
  connecting.join();
  if (failure != nullptr) std::rethrow_exception(failure);
  for (const Fd* fd : {&to_next, &from_previous}) send_heartbeats(fd->get(), heartbeat);
  link_ = std::make_unique<TcpLink>(watch_, std::move(to_next), std::move(from_previous), next, previous);
  ring_ = std::make_unique<Ring>(*link_, hosts_, host_);
  small_ring_ = std::make_unique<SmallRing>(*link_, host_, static_cast<int>(count));
}

void Hosts::meet_leaders(const Header& own) { check(own, ring_->meet(own)); }

void Hosts::check(const Header& own, const Header& theirs) {
  if (theirs.fits(own)) return;
  const Member& self = members_[static_cast<std::size_t>(rank_)];
  const Member& other = members_[static_cast<std::size_t>(ring_->previous())];
  watch_.fail(mismatch(own, self, theirs, other));
}

void Hosts::run(const Call& call, std::uint64_t operation) {
  if (SmallRing::takes(call, host_count())) return all_reduce(call, operation);
  if (leads()) meet_leaders(header_of(call, operation));
  if (call.kind == Kind::barrier) return barrier(operation);
  if (call.count == 0 || only_meets(call.algorithm)) return;
  if (call.kind == Kind::all_reduce) all_reduce(call, operation);
  if (call.kind == Kind::reduce_scatter) reduce_scatter(call, operation);
  if (call.kind == Kind::all_gather) all_gather(call, operation);
  if (call.kind == Kind::broadcast) broadcast(call, operation);
}

void Hosts::share_result(Call call, std::uint64_t operation) {
  call.kind = Kind::broadcast;
  call.root = 0;
  call.in = call.out;
  watch_.be_patient(!leads());
  local_.meet(call, operation);
  watch_.be_patient(false);
  local_.run(call, 1);
}

void Hosts::all_reduce(const Call& call, std::uint64_t operation) {
  Call sums = call;
  sums.to_first = true;
  local_.run(sums, 1);
  if (leads() && SmallRing::takes(call, host_count())) {
    const Header own = header_of(call, operation);
    check(own, small_ring_->all_reduce(call, divisor(call), own));
  } else if (leads()) {
    ring_->run(call, divisor(call));
  }
  share_result(call, operation);
}

// Leaders get the sums of their host's ranks, and of all hosts the parts that their own ranks are to have.
void Hosts::reduce_scatter(const Call& call, std::uint64_t operation) {
  const std::vector<int>& here = hosts_[static_cast<std::size_t>(host_)];
  if (here.size() == 1) return ring_->run(call, divisor(call));
  const std::int64_t part = call.count * size_of(call.type), parts = static_cast<std::int64_t>(here.size());
  const auto ranks = static_cast<std::int64_t>(members_.size());
  std::byte* own = scratch_.reserve(static_cast<std::size_t>(part * (leads() ? parts + ranks : parts)));
  Call sums = call;
  sums.kind = Kind::all_reduce;
  sums.count = call.count * ranks;
  sums.out = leads() ? own + part * parts : nullptr;
  sums.to_first = true;
  local_.meet(sums, operation);  // anew: what they met for isn't what follows
  local_.run(sums, 1);
  Call result = call;
  result.in = sums.out;
  result.out = own;
  if (leads()) ring_->run(result, divisor(call));
  result.count = call.count * parts;
  share_result(result, operation);
  copy_bytes(call.out, own + part * local_rank_, part);
}

void Hosts::all_gather(const Call& call, std::uint64_t operation) {
  const std::vector<int>& here = hosts_[static_cast<std::size_t>(host_)];
  const std::int64_t part = call.count * size_of(call.type);
  std::byte* gathered = scratch_.reserve(static_cast<std::size_t>(part) * here.size());
  auto* out = static_cast<std::byte*>(call.out);
  Call local = call;
  local.out = gathered;
  local_.meet(local, operation);
  local_.run(local, 1);
  for (std::size_t i = 0; i < here.size(); ++i) {
    copy_bytes(out + here[i] * part, gathered + static_cast<std::int64_t>(i) * part, part);
  }
  Call whole = call;
  if (leads()) {
    whole.in = out + rank_ * part;
    ring_->run(whole, 1);
  }
  whole.count = call.count * static_cast<std::int64_t>(members_.size());
  share_result(whole, operation);
}

void Hosts::broadcast(const Call& call, std::uint64_t operation) {
  const std::vector<int>& here = hosts_[static_cast<std::size_t>(host_)];
  const auto found = std::find(here.begin(), here.end(), call.root);
  if (found != here.end() && found != here.begin()) {  // the leader has it from the root
    Call local = call;
    local.root = static_cast<int>(found - here.begin());
    local_.meet(local, operation);
    local_.run(local, 1);
  }
  if (leads()) ring_->run(call, 1);
  share_result(call, operation);
}

// After as many turns as there are others, each leader knows that all have come.
void Hosts::barrier(std::uint64_t operation) {
  Call call;
  for (std::size_t turn = 2; leads() && turn < hosts_.size(); ++turn) meet_leaders(header_of(call, operation));
  watch_.be_patient(!leads());
  local_.meet(call, operation);
  watch_.be_patient(false);
}

}  // namespace fnn::comm
