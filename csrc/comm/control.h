// How ranks of several hosts tell one another of failures: each has a connection to rank 0, which tells all others.
#pragma once
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/rendezvous.h"
#include "comm/watch.h"

namespace fnn::comm {

class Control {
 public:
  // `lines`: of rank 0, one to each rank; of others, one to rank 0.
  Control(Watch& watch, std::vector<Member> members, int rank, std::vector<Fd> lines, std::string secret,
          double heartbeat);
  ~Control();

  void report(const Failure& failure);  // of this rank, to all others
  void close();                         // says good-bye

 private:
  void listen();
  bool read(std::size_t line);
  void hear(std::size_t line, const std::string& text);
  void tell(const std::string& text, std::size_t but);
  void lose(std::size_t line);

  Watch& watch_;
  const std::vector<Member> members_;
  const int rank_;
  std::vector<Fd> lines_;
  std::vector<std::string> received_;
  std::vector<char> open_;
  const std::string secret_;
  std::mutex sending_;
  std::atomic<bool> closing_{false};
  std::thread thread_;
};

}  // namespace fnn::comm
