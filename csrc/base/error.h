// Errors below the bindings: only for states that the border has made impossible or that the system refuses.
#pragma once
#include <stdexcept>
#include <string>

namespace fnn {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace fnn

// Condition that must hold; the message says what failed and where.
#define FNN_CHECK(condition, message)                                                                 \
  do {                                                                                                \
    if (!(condition)) throw ::fnn::Error(std::string(message) + " (" #condition " at " __FILE__ ")"); \
  } while (0)
