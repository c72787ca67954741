// Neighbours of other hosts: bytes go through TCP.
//
// A neighbour whose process ends closes its connection, which shows at once. One whose host is cut off answers no
// probes of its kernel: the connection ends after `heartbeat` seconds. One that is merely stopped still answers them,
// and is waited for like any rank that is slow.
#pragma once
#include "comm/link.h"
#include "comm/watch.h"

namespace fnn::comm {

void send_heartbeats(int fd, double seconds);

class TcpLink : public Link {
 public:
  TcpLink(Watch& watch, Fd next, Fd previous, const Member& next_member, const Member& previous_member);

  std::int64_t send(const void* bytes, std::int64_t count) override;
  std::int64_t receive(void* bytes, std::int64_t count) override;
  void begin(std::int64_t bytes) override;
  void idle(int& rounds, bool sends, bool receives) override;

 private:
  [[noreturn]] void lose(const Member& member, const std::string& why);

  Watch& watch_;
  const Fd next_, previous_;
  const Member next_member_, previous_member_;
  Watch::Wait wait_{};
  int spins_ = 0;
};

}  // namespace fnn::comm
