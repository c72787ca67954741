// What can go wrong between processes, as an exception that says who, where, when and why.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "base/error.h"

namespace fnn::comm {

enum class Trouble : std::int32_t { none, died, mismatch, timeout, rendezvous, interrupted, closed };

struct Failure {
  Trouble trouble = Trouble::none;
  int rank = -1;  // whose fault it is; -1: nobody's in particular
  std::string host;
  std::uint64_t operation = 0;  // 0: before the first
  std::string text;
};

class Failed : public Error {
 public:
  explicit Failed(Failure what) : Error(what.text), failure(std::move(what)) {}
  const Failure failure;
};

// What the code above us wants to be asked and told while we wait.
struct Hooks {
  std::function<bool()> interrupted = [] { return false; };  // whether to give up, for a signal came
  std::function<void(const std::string&)> warn = [](const std::string&) {};
};

[[noreturn]] inline void fail_to_join(const std::string& text, int rank = -1) {
  throw Failed({Trouble::rendezvous, rank, "", 0, text});
}

}  // namespace fnn::comm
