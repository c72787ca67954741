#include "comm/rendezvous.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "comm/greeting.h"
#include "comm/message.h"

namespace fnn::comm {
namespace {

constexpr double kPatience = 5;        // seconds that someone who connected may take to introduce himself
constexpr std::size_t kGuests = 4096;  // at once, beside those who have joined
const std::string kPurpose = "rendezvous";

// Someone who has connected to rank 0.
struct Guest {
  Fd fd;
  Greeted greeted;
  std::string received;
  Deadline deadline;
  bool greeted_back = false;
  int rank = -1;  // once he has said it
};

std::string list_of(const std::vector<int>& ranks) {
  std::string text;
  const std::size_t shown = std::min<std::size_t>(ranks.size(), 20);
  for (std::size_t i = 0; i < shown; ++i) text += (i > 0 ? ", " : "") + std::to_string(ranks[i]);
  return shown < ranks.size() ? text + " and " + std::to_string(ranks.size() - shown) + " more" : text;
}

// Rank 0's part: one loop over all connections, so that nobody can stall it.
class Reception {
 public:
  Reception(const JoinRequest& request, const Hooks& hooks)
      : request_(request), hooks_(hooks), deadline_(after(request.timeout)) {
    listening_ = request.listening >= 0 ? take_over(request.listening) : listen_at(request.place);
    party_.members.resize(static_cast<std::size_t>(request.world));
    party_.lines.resize(party_.members.size());
    known_.resize(party_.members.size());
    known_[0] = true;
    party_.members[0] = request.self;
    if (!request.place.is_unix()) {
      party_.data = listen_at({request.place.host, 0});
      party_.members[0].port = port_of(party_.data.get());
      party_.members[0].address = request.place.host;
    }
  }

  Party run() {
    while (!missing().empty()) {
      if (seconds_until(deadline_) <= 0) give_up();
      if (hooks_.interrupted()) throw Failed({Trouble::interrupted, -1, "", 0, "init: interrupted by a signal"});
      wait();
    }
    std::string table = "all\n";
    for (const Member& member : party_.members) table += line_of(member);
    for (Guest& guest : guests_) {
      if (guest.rank < 0) continue;
      send_all(guest.fd.get(), sealed(request_.secret, table), after(kPatience), hooks_);
      party_.lines[static_cast<std::size_t>(guest.rank)] = std::move(guest.fd);
    }
    return std::move(party_);
  }

 private:
  std::vector<int> missing() const {
    std::vector<int> ranks;
    for (int rank = 0; rank < request_.world; ++rank) {
      if (!known_[static_cast<std::size_t>(rank)]) ranks.push_back(rank);
    }
    return ranks;
  }

  [[noreturn]] void give_up() {
    const std::vector<int> ranks = missing();
    const std::string text = "init: " + std::to_string(ranks.size()) + " of " + std::to_string(request_.world) +
                             " ranks did not come to " + request_.place.text() + " within " +
                             std::to_string(static_cast<int>(request_.timeout)) + " s: " + list_of(ranks);
    for (const Guest& guest : guests_) {
      if (guest.rank >= 0) send_all(guest.fd.get(), sealed(request_.secret, "no\n" + text), after(0.5), hooks_);
    }
    fail_to_join(text, ranks[0]);
  }

  void wait() {
    std::vector<pollfd> polled{
        {listening_.get(), static_cast<short>(guests_.size() < kGuests + known_.size() ? POLLIN : 0), 0}};
    for (const Guest& guest : guests_) polled.push_back({guest.fd.get(), POLLIN, 0});
    ::poll(polled.data(), polled.size(), 50);
    std::vector<Guest> staying;
    for (std::size_t i = 0; i < guests_.size(); ++i) {
      Guest& guest = guests_[i];
      const bool late = guest.rank < 0 && seconds_until(guest.deadline) <= 0;
      if (!late && (polled[i + 1].revents == 0 || listen_to(guest))) {
        staying.push_back(std::move(guest));
      } else if (guest.rank >= 0) {
        known_[static_cast<std::size_t>(guest.rank)] = false;  // he may come again
      }
    }
    guests_ = std::move(staying);
    if (polled[0].revents != 0) welcome();
  }

  void welcome() {
    while (guests_.size() < kGuests + known_.size()) {
      Fd fd = accept_one(listening_.get());
      if (!fd) return;
      Guest guest{std::move(fd), Greeted(request_.secret, kPurpose), "", after(kPatience)};
      const std::string challenge = guest.greeted.challenge();
      const ssize_t sent = ::send(guest.fd.get(), challenge.data(), challenge.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent == static_cast<ssize_t>(challenge.size())) guests_.push_back(std::move(guest));
    }
  }

  // Returns whether the guest may stay. Before he has proved himself no more bytes are read than an answer has.
  bool listen_to(Guest& guest) {
    char bytes[512];
    const std::size_t most = guest.greeted_back ? sizeof bytes : kAnswer - guest.received.size();
    const ssize_t got = ::recv(guest.fd.get(), bytes, most, MSG_DONTWAIT);
    if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR);
    if (guest.rank >= 0) return false;  // he has nothing more to say
    guest.received.append(bytes, static_cast<std::size_t>(got));
    if (!guest.greeted_back) {
      const std::size_t prefix = std::min(guest.received.size(), kMagic);
      if (guest.received.compare(0, prefix, kClientMagic, 0, prefix) != 0) return false;
      if (guest.received.size() < kAnswer) return true;
      if (!guest.greeted.accepts(guest.received)) return false;
      guest.received.clear();
      guest.greeted_back = true;
      return send_all(guest.fd.get(), guest.greeted.confirmation(), after(0.1), hooks_);
    }
    if (guest.received.size() < kLength) return true;
    const std::size_t size = size_of_message(guest.received);
    if (size == 0 || guest.received.size() > size) return false;
    return guest.received.size() < size || introduce(guest);
  }

  bool introduce(Guest& guest) {
    std::string text;
    if (!opened(request_.secret, guest.received, &text)) return false;
    std::istringstream in(text);
    int world = 0;
    in >> world;
    const Member member = member_of(in);
    const auto rank = static_cast<std::size_t>(member.rank);
    std::string refusal;
    if (world != request_.world) {
      refusal = "rank " + std::to_string(member.rank) + " was started for " + std::to_string(world) +
                " ranks, rank 0 for " + std::to_string(request_.world);
    } else if (member.rank < 0 || member.rank >= world) {
      refusal = "rank " + std::to_string(member.rank) + " isn't one of 0 to " + std::to_string(world - 1);
    } else if (known_[rank]) {
      refusal = "rank " + std::to_string(member.rank) + " has joined already: process " +
                std::to_string(party_.members[rank].pid) + " of " + party_.members[rank].host;
    }
    if (!refusal.empty()) {
      send_all(guest.fd.get(), sealed(request_.secret, "no\ninit: " + refusal), after(0.5), hooks_);
      return false;
    }
    party_.members[rank] = member;
    known_[rank] = true;
    guest.rank = member.rank;
    guest.received.clear();
    return true;
  }

  const JoinRequest& request_;
  const Hooks& hooks_;
  const Deadline deadline_;
  Fd listening_;
  Party party_;
  std::vector<bool> known_;
  std::vector<Guest> guests_;
};

void introduce_self(int fd, const JoinRequest& request, Party& party, const Hooks& hooks) {
  Member self = request.self;
  if (!request.place.is_unix()) {
    self.address = address_of(fd);
    party.data = listen_at({self.address, 0});
    self.port = port_of(party.data.get());
  }
  const std::string text = std::to_string(request.world) + " " + line_of(self);
  send_all(fd, sealed(request.secret, text), after(kPatience), hooks);
}

// The table, once all have come; false if rank 0 went away.
bool receive_table(int fd, const JoinRequest& request, Deadline deadline, Party& party, const Hooks& hooks) {
  std::string message(kLength, '\0'), text;
  if (!receive_all(fd, message.data(), kLength, deadline, hooks)) return false;
  const std::size_t size = size_of_message(message);
  if (size == 0) return false;
  message.resize(size);
  if (!receive_all(fd, message.data() + kLength, size - kLength, deadline, hooks)) return false;
  if (!opened(request.secret, message, &text)) return false;
  if (text.rfind("no\n", 0) == 0) fail_to_join(text.substr(3));
  std::istringstream in(text.substr(4));
  for (int rank = 0; rank < request.world; ++rank) party.members.push_back(member_of(in));
  return true;
}

Party visit(const JoinRequest& request, const Hooks& hooks) {
  const Deadline deadline = after(request.timeout);
  const std::string where = "rank 0 at " + request.place.text();
  std::string why = "no answer";
  while (seconds_until(deadline) > 0) {
    Party party;
    Fd fd = try_connect(request.place, deadline, &why);
    const Greeting greeting =
        fd ? greet_as_client(fd.get(), request.secret, kPurpose, std::min(deadline, after(kPatience)), hooks)
           : Greeting::closed;
    if (greeting == Greeting::stranger) fail_to_join("init: a program that isn't fastnn answers as " + where);
    if (greeting == Greeting::refused) {
      fail_to_join("init: the secrets of " + where + " and of rank " + std::to_string(request.self.rank) +
                   " differ; set FASTNN_SECRET to the same text for all ranks");
    }
    if (greeting == Greeting::done) {
      introduce_self(fd.get(), request, party, hooks);
      if (receive_table(fd.get(), request, after(seconds_until(deadline) + kPatience), party, hooks)) {
        party.lines.push_back(std::move(fd));
        return party;
      }
      why = "it closed the connection";
    }
    if (hooks.interrupted()) throw Failed({Trouble::interrupted, -1, "", 0, "init: interrupted by a signal"});
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  fail_to_join("init: " + where + " can't be reached within " + std::to_string(static_cast<int>(request.timeout)) +
                   " s (" + why + ")",
               0);
}

}  // namespace

Party join(const JoinRequest& request, const Hooks& hooks) {
  if (request.self.rank == 0) return Reception(request, hooks).run();
  return visit(request, hooks);
}

bool greet_as_server(int fd, const std::string& secret, const std::string& purpose, Deadline deadline,
                     const Hooks& hooks) {
  Greeted greeted(secret, purpose);
  std::string answer(kAnswer, '\0');
  return send_all(fd, greeted.challenge(), deadline, hooks) &&
         receive_all(fd, answer.data(), answer.size(), deadline, hooks) && greeted.accepts(answer) &&
         send_all(fd, greeted.confirmation(), deadline, hooks);
}

Greeting greet_as_client(int fd, const std::string& secret, const std::string& purpose, Deadline deadline,
                         const Hooks& hooks) {
  Greeted greeted(secret, purpose);
  std::string challenge(kChallenge, '\0'), confirmation(kProof, '\0');
  if (!receive_all(fd, challenge.data(), challenge.size(), deadline, hooks)) {
    return challenge[0] != '\0' && challenge.substr(0, kMagic) != kServerMagic ? Greeting::stranger : Greeting::closed;
  }
  const std::string answer = greeted.answer(challenge);
  if (answer.empty()) return Greeting::stranger;
  if (!send_all(fd, answer, deadline, hooks)) return Greeting::closed;
  if (!receive_all(fd, confirmation.data(), confirmation.size(), deadline, hooks)) {
    return seconds_until(deadline) <= 0 ? Greeting::closed : Greeting::refused;
  }
  return greeted.confirms(confirmation) ? Greeting::done : Greeting::refused;
}

}  // namespace fnn::comm
