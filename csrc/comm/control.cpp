#include "comm/control.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <sstream>

#include "comm/message.h"
#include "comm/tcp_link.h"

namespace fnn::comm {
namespace {

constexpr int kSlice = 50;  // milliseconds within which the thread notices that it should end
constexpr double kPatience = 1;
constexpr std::size_t kNone = SIZE_MAX;
const std::string kBye = "bye";

std::string written(const Failure& failure) {
  std::ostringstream out;
  out << static_cast<int>(failure.trouble) << ' ' << failure.rank << ' ' << one_word(failure.host) << ' '
      << failure.operation << ' ' << failure.text;
  return out.str();
}

Failure read_back(const std::string& text) {
  std::istringstream in(text);
  Failure failure;
  int trouble = 0;
  in >> trouble >> failure.rank >> failure.host >> failure.operation;
  failure.trouble = static_cast<Trouble>(trouble);
  in.ignore(1);
  std::getline(in, failure.text, '\0');
  return failure;
}

}  // namespace

Control::Control(Watch& watch, std::vector<Member> members, int rank, std::vector<Fd> lines, std::string secret,
                 double heartbeat)
    : watch_(watch),
      members_(std::move(members)),
      rank_(rank),
      lines_(std::move(lines)),
      received_(lines_.size()),
      open_(lines_.size(), 1),
      secret_(std::move(secret)) {
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    open_[i] = lines_[i] ? 1 : 0;  // rank 0 has none to itself
    if (lines_[i]) send_heartbeats(lines_[i].get(), heartbeat);
  }
  thread_ = std::thread([this] { listen(); });
}

Control::~Control() { close(); }

void Control::listen() {
  while (!closing_) {
    std::vector<pollfd> polled;
    for (std::size_t i = 0; i < lines_.size(); ++i) polled.push_back({open_[i] ? lines_[i].get() : -1, POLLIN, 0});
    if (::poll(polled.data(), polled.size(), kSlice) <= 0) continue;
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      if (polled[i].revents != 0 && open_[i] && !read(i)) lose(i);
    }
  }
}

// False if the line has ended.
bool Control::read(std::size_t line) {
  char bytes[4096];
  const ssize_t got = ::recv(lines_[line].get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR);
  std::string& received = received_[line];
  received.append(bytes, static_cast<std::size_t>(got));
  while (received.size() >= kLength) {
    const std::size_t size = size_of_message(received);
    if (size == 0) return false;
    if (received.size() < size) return true;
    std::string text;
    if (!opened(secret_, received.substr(0, size), &text)) return false;
    received.erase(0, size);
    hear(line, text);
  }
  return true;
}

void Control::hear(std::size_t line, const std::string& text) {
  if (text == kBye) {
    open_[line] = 0;
    return;
  }
  if (rank_ == 0) tell(text, line);
  watch_.record(read_back(text), false);
}

void Control::lose(std::size_t line) {
  open_[line] = 0;
  if (closing_) return;
  const Member& member = members_[rank_ == 0 ? line : 0];
  const std::uint64_t operation = watch_.operation_number();
  const Failure failure{Trouble::died, member.rank, member.host, operation,
                        name_of(member) + " is gone in operation " + std::to_string(operation) +
                            ": its connection ended (its process was killed or crashed, or its host is cut off)"};
  watch_.record(failure, false);
  report(failure);
}

void Control::report(const Failure& failure) { tell(written(failure), kNone); }

void Control::tell(const std::string& text, std::size_t but) {
  const std::string message = sealed(secret_, text);
  std::lock_guard<std::mutex> lock(sending_);
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    if (i != but && open_[i]) send_all(lines_[i].get(), message, after(kPatience), Hooks());
  }
}

void Control::close() {
  if (closing_.exchange(true)) return;
  if (thread_.joinable()) thread_.join();
  tell(kBye, kNone);
}

}  // namespace fnn::comm
