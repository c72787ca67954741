// How the ranks of a job find each other: rank 0 listens, the others come, each proves that it knows the job's secret,
// and all get the list of all.
#pragma once
#include <string>
#include <vector>

#include "comm/socket.h"

namespace fnn::comm {

struct Member {
  int rank = 0;
  std::string machine;  // equal for the ranks that can share memory
  std::string host;     // the machine's name, for people
  int pid = 0;
  std::string door;     // the name of a socket where ranks of the same machine come for the shared memory
  std::string address;  // where ranks of other machines connect
  int port = 0;
};

struct JoinRequest {
  Member self;
  int world = 1;
  Place place;
  std::string secret;
  double timeout = 120;  // seconds until all must have come
  int listening = -1;    // a socket that listens at `place` already, which rank 0 takes over
};

struct Party {
  std::vector<Member> members;  // by rank
  std::vector<Fd> lines;        // of rank 0: one to each rank, by rank, [0] empty; of others: [0] to rank 0
  Fd data;                      // where this rank listens for ranks of other machines
};

Party join(const JoinRequest& request, const Hooks& hooks);

// Each side proves to the other one that it knows the secret; `purpose` tells one kind of connection from another.
bool greet_as_server(int fd, const std::string& secret, const std::string& purpose, Deadline deadline,
                     const Hooks& hooks);
enum class Greeting { done, closed, refused, stranger };
Greeting greet_as_client(int fd, const std::string& secret, const std::string& purpose, Deadline deadline,
                         const Hooks& hooks);

}  // namespace fnn::comm
