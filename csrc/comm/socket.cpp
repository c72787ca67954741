#include "comm/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>

namespace fnn::comm {
namespace {

constexpr int kSlice = 50;  // milliseconds between two looks at signals

struct Resolved {
  sockaddr_storage address{};
  socklen_t size = 0;
};

Resolved resolve_unix(const std::string& name) {
  Resolved result;
  auto* address = reinterpret_cast<sockaddr_un*>(&result.address);
  address->sun_family = AF_UNIX;
  const std::size_t length = std::min(name.size(), sizeof(address->sun_path) - 1);
  std::memcpy(address->sun_path + 1, name.data(), length);  // after a zero: no file, gone with its last socket
  result.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  return result;
}

Resolved resolve(const Place& place, std::string* why) {
  if (place.is_unix()) return resolve_unix(place.host.substr(5));
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  const int code = getaddrinfo(place.host.c_str(), std::to_string(place.port).c_str(), &wanted, &found);
  Resolved result;
  if (code != 0) {
    *why = gai_strerror(code);
    return result;
  }
  std::memcpy(&result.address, found->ai_addr, found->ai_addrlen);
  result.size = found->ai_addrlen;
  freeaddrinfo(found);
  return result;
}

Fd new_socket(const Resolved& to) {
  Fd fd(::socket(to.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int one = 1;
  if (to.address.ss_family != AF_UNIX) setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

}  // namespace

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

Fd listen_at(const Place& place) {
  std::string why;
  const Resolved at = resolve(place, &why);
  if (at.size == 0) fail_to_join("the host " + place.host + " of the rendezvous can't be found: " + why);
  Fd fd = new_socket(at);
  const int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);  // else TIME_WAIT would block a restart
  const bool bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at.address), at.size) == 0;
  if (bound && ::listen(fd.get(), 1024) == 0) return fd;
  if (errno == EADDRINUSE) {
    fail_to_join("the port of the rendezvous is taken: another program listens at " + place.text() +
                 "; choose another one, or 0 for any that is free");
  }
  if (errno == EADDRNOTAVAIL) fail_to_join(place.host + " isn't an address of this machine, where rank 0 runs");
  fail_to_join("can't listen at " + place.text() + ": " + std::strerror(errno));
}

Fd take_over(int listening) {
  ::fcntl(listening, F_SETFL, ::fcntl(listening, F_GETFL) | O_NONBLOCK);
  ::fcntl(listening, F_SETFD, FD_CLOEXEC);
  return Fd(listening);
}

int port_of(int listening) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6*>(&address)->sin6_port);
  return address.ss_family == AF_INET ? ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port) : 0;
}

std::string address_of(int connected) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  getsockname(connected, reinterpret_cast<sockaddr*>(&address), &size);
  char text[NI_MAXHOST] = "";
  getnameinfo(reinterpret_cast<sockaddr*>(&address), size, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
  return text;
}

Fd try_connect(const Place& place, Deadline deadline, std::string* why) {
  const Resolved to = resolve(place, why);
  if (to.size == 0) return Fd();
  Fd fd = new_socket(to);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to.address), to.size) != 0 && errno != EINPROGRESS) {
    *why = std::strerror(errno);
    return Fd();
  }
  pollfd one{fd.get(), POLLOUT, 0};
  const int wait = static_cast<int>(std::max(0.0, std::min(5.0, seconds_until(deadline))) * 1000);
  int code = 0;
  socklen_t size = sizeof code;
  if (::poll(&one, 1, wait) == 1) {
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &code, &size);
    if (code == 0) return fd;
  }
  *why = code != 0 ? std::strerror(code) : "no answer";
  return Fd();
}

Fd accept_one(int listening) {
  Fd fd(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  const int one = 1;
  if (fd) setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // no harm to another family
  return fd;
}

bool wait_for(int fd, short events, Deadline deadline, const Hooks& hooks) {
  for (;;) {
    const double left = seconds_until(deadline);
    if (left <= 0) return false;
    pollfd one{fd, events, 0};
    if (::poll(&one, 1, std::min(kSlice, static_cast<int>(left * 1000) + 1)) > 0) return true;
    if (hooks.interrupted()) throw Failed({Trouble::interrupted, -1, "", 0, "interrupted by a signal"});
  }
}

bool send_all(int fd, std::string_view bytes, Deadline deadline, const Hooks& hooks) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EINTR) {
      if (!wait_for(fd, POLLOUT, deadline, hooks)) return false;
    } else {
      return false;
    }
  }
  return true;
}

bool receive_all(int fd, void* bytes, std::size_t size, Deadline deadline, const Hooks& hooks) {
  auto* to = static_cast<char*>(bytes);
  while (size > 0) {
    const ssize_t got = ::recv(fd, to, size, MSG_DONTWAIT);
    if (got > 0) {
      to += got;
      size -= static_cast<std::size_t>(got);
    } else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (!wait_for(fd, POLLIN, deadline, hooks)) return false;
    } else {
      return false;
    }
  }
  return true;
}

bool send_descriptor(int socket, int descriptor) {
  char byte = 'd';
  iovec part{&byte, 1};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
}

Fd receive_descriptor(int socket) {
  char byte;
  iovec part{&byte, 1};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) return Fd();
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return Fd();
  int descriptor;
  std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  return Fd(descriptor);
}

bool is_same_user(int unix_socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return getsockopt(unix_socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  FNN_CHECK(::getrandom(bytes.data(), count, 0) == static_cast<ssize_t>(count), "no random bytes from the system");
  return bytes;
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const unsigned char c : bytes) {
    text += "0123456789abcdef"[c >> 4];
    text += "0123456789abcdef"[c & 15];
  }
  return text;
}

}  // namespace fnn::comm
