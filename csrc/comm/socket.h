// Sockets: who owns them, and sending and receiving until a deadline.
#pragma once
#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "comm/failure.h"

namespace fnn::comm {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

inline Deadline after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}
inline double seconds_until(Deadline deadline) {
  return std::chrono::duration<double>(deadline - Clock::now()).count();
}

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Where ranks meet: a host (name or number) and a port, or "unix:NAME" for a name in this network namespace.
struct Place {
  std::string host;
  int port = 0;
  bool is_unix() const { return host.rfind("unix:", 0) == 0; }
  std::string text() const { return is_unix() ? host : host + ":" + std::to_string(port); }
};

// Binds to the one address alone. Throws if it's taken or isn't this machine's.
Fd listen_at(const Place& place);
Fd take_over(int listening);  // somebody else's work
int port_of(int listening);
std::string address_of(int connected);  // this end's, in numbers
// No connection within `deadline`: an empty Fd, and why not.
Fd try_connect(const Place& place, Deadline deadline, std::string* why);
Fd accept_one(int listening);  // empty if nobody waits

// Whether the socket is ready for `events` (of poll) before the deadline. Throws Trouble::interrupted for a signal.
bool wait_for(int fd, short events, Deadline deadline, const Hooks& hooks);
// False if the other side closed, broke or took too long.
bool send_all(int fd, std::string_view bytes, Deadline deadline, const Hooks& hooks);
bool receive_all(int fd, void* bytes, std::size_t size, Deadline deadline, const Hooks& hooks);

// A descriptor travels to another process of this host.
bool send_descriptor(int socket, int descriptor);
Fd receive_descriptor(int socket);
bool is_same_user(int unix_socket);

std::string random_bytes(std::size_t count);
std::string hex(std::string_view bytes);

}  // namespace fnn::comm
