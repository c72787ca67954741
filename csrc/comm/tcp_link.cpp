#include "comm/tcp_link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <thread>

namespace fnn::comm {
namespace {

constexpr int kSpins = 1000;  // some 500 microseconds
constexpr int kOffer = 4;     // among them, the core is offered to others
constexpr int kYields = 50;   // then the kernel wakes us
constexpr std::int64_t kSpinBytes = 128 << 10;
constexpr int kSlice = 50;      // milliseconds between two looks at the group's state
constexpr double kHearsay = 1;  // seconds for another rank's word on why a neighbour has gone

}  // namespace

void send_heartbeats(int fd, double seconds) {
  const int on = 1, probes = 3, step = std::max(1, static_cast<int>(std::lround(seconds / (probes + 1))));
  const int limit = std::max(1, static_cast<int>(seconds * 1000));
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &step, sizeof step);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &step, sizeof step);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
}

TcpLink::TcpLink(Watch& watch, Fd next, Fd previous, const Member& next_member, const Member& previous_member)
    : watch_(watch),
      next_(std::move(next)),
      previous_(std::move(previous)),
      next_member_(next_member),
      previous_member_(previous_member) {}

std::int64_t TcpLink::send(const void* bytes, std::int64_t count) {
  const ssize_t now = ::send(next_.get(), bytes, static_cast<std::size_t>(count), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (now >= 0) return now;
  if (errno == EAGAIN || errno == EINTR) return 0;
  lose(next_member_, std::strerror(errno));
}

std::int64_t TcpLink::receive(void* bytes, std::int64_t count) {
  const ssize_t now = ::recv(previous_.get(), bytes, static_cast<std::size_t>(count), MSG_DONTWAIT);
  if (now > 0) return now;
  if (now < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  lose(previous_member_, now == 0 ? "closed" : std::strerror(errno));
}

// Looking again and again is answered faster than sleeping, but takes the core from the kernel, which has work to do
// for larger messages.
void TcpLink::begin(std::int64_t bytes) { spins_ = watch_.spins() && bytes <= kSpinBytes ? kSpins : 0; }

void TcpLink::idle(int& rounds, bool sends, bool receives) {
  if (rounds == 0) wait_ = watch_.begin_wait(receives ? previous_member_ : next_member_);
  if (rounds++ < spins_ && rounds % kOffer != 0) return;
  if (rounds <= spins_ + kYields) {
    sched_yield();
    return;
  }
  pollfd polled[2];
  nfds_t count = 0;
  if (receives) polled[count++] = {previous_.get(), POLLIN, 0};
  if (sends) polled[count++] = {next_.get(), POLLOUT, 0};
  // What has come is of this operation, though the group may have failed in the next one.
  if (::poll(polled, count, kSlice) == 0) watch_.look_around(wait_);
}

// A neighbour may have gone because it learned of a failure elsewhere: that is what all should name.
void TcpLink::lose(const Member& member, const std::string& why) {
  for (const Deadline deadline = after(kHearsay); seconds_until(deadline) > 0;) {
    watch_.check();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  watch_.fail({Trouble::died, member.rank, member.host, watch_.header().operation,
               name_of(member) + " is gone in " + watch_.operation() + ": its connection ended (" + why + ")"});
}

}  // namespace fnn::comm
