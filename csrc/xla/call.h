// One call by XLA, as a handler sees it: numbers by name, buffers by position, errors as exceptions.
#pragma once
#include <cstdint>
#include <string>

#include "base/error.h"
#include "xla/ffi.h"

namespace fnn::xla {

class Call {
 public:
  explicit Call(const CallFrame& frame) : frame_(frame) {}

  // A hyperparameter: an attribute that is a float is its value; one that is a whole number is the position of the
  // argument, a scalar, that holds the value of this call.
  double number(const char* name) const;
  // An attribute that is a whole number.
  std::int64_t integer(const char* name) const;
  // A scalar argument that is a whole number.
  std::int64_t counter(std::int64_t argument) const;
  // An attribute that is an array of float32 with `count` elements.
  const float* floats(const char* name, std::int64_t count) const;

  std::int64_t argument_count() const { return frame_.arguments.size; }
  std::int64_t result_count() const { return frame_.results.size; }
  // A buffer of float32 with `count` elements, kAny for any number; `elements` gets their number.
  static constexpr std::int64_t kAny = -1;
  float* argument(std::int64_t position, std::int64_t count, std::int64_t* elements = nullptr) const;
  float* result(std::int64_t position, std::int64_t count) const;

 private:
  std::int64_t find(const char* name, AttributeType type) const;
  static const Buffer& buffer(const Buffers& buffers, std::int64_t position, const char* what);
  const Buffer& scalar(std::int64_t argument) const;

  const CallFrame& frame_;
};

// Calls body(call) for an execution, and answers the question for the handler's version.
Error* answer(CallFrame* frame, void (*body)(const Call&)) noexcept;

template <void (*body)(const Call&)>
Error* handle(CallFrame* frame) {
  return answer(frame, body);
}

}  // namespace fnn::xla
