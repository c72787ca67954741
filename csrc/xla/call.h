// One call by XLA, as a handler sees it: numbers by name, buffers by position, errors as exceptions.
#pragma once
#include <cstdint>
#include <string>

#include "base/error.h"
#include "xla/ffi.h"
#ifdef FNN_CUDA
#include "cuda/traced_numbers.h"
#endif

namespace fnn::xla {

// A buffer as a handler sees it.
struct Array {
  void* data;
  DataType dtype;
  std::int64_t count;

  std::size_t bytes() const;
  float* floats() const { return static_cast<float*>(data); }  // an address only, where dtype is another
};

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
  // An attribute that is an array of float32, or int64, with `count` elements.
  const float* floats(const char* name, std::int64_t count) const;
  const std::int64_t* integers(const char* name, std::int64_t count) const;

#ifdef FNN_CUDA
  // The same numbers where they may lie on the GPU.
  cuda::TracedNumber traced(const char* name) const;
  cuda::TracedNumber traced_counter(std::int64_t argument) const;
  // What the call's work is to be enqueued in.
  cudaStream_t stream() const;
#endif

  // XLA's own threads, 1 if it shows none; and whether it will start task(data) on one of them, some time.
  std::int64_t pool_size() const;
  bool schedule(Task* task, void* data) const;

  std::int64_t argument_count() const { return frame_.arguments.size; }
  std::int64_t result_count() const { return frame_.results.size; }
  // A buffer of float32, bfloat16 or float16.
  Array argument(std::int64_t position) const { return array(frame_.arguments, position, "argument"); }
  Array result(std::int64_t position) const { return array(frame_.results, position, "result"); }

 private:
  std::int64_t find(const char* name, AttributeType type) const;
  const void* numbers(const char* name, DataType dtype, std::int64_t count) const;
  static Array array(const Buffers& buffers, std::int64_t position, const char* what);
  static const Buffer& buffer(const Buffers& buffers, std::int64_t position, const char* what);
  const Buffer& scalar(std::int64_t argument) const;
  bool succeeded(Error* error) const;

  const CallFrame& frame_;
};

// Calls body(call) for an execution, and answers the question for the handler's version.
Error* answer(CallFrame* frame, void (*body)(const Call&)) noexcept;

template <void (*body)(const Call&)>
Error* handle(CallFrame* frame) {
  return answer(frame, body);
}

}  // namespace fnn::xla
