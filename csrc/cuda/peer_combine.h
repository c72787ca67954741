// What a rank does with the part of an array that has come from another GPU.
#pragma once
#include <cstdint>

#include "comm/call.h"
#include "cuda/run.h"

namespace fnn::cuda {

// out[i] = op(incoming[i], own[i]) / divisor, of `count` elements of any alignment; `out` may be `own`. Integers aren't
// divided.
struct PeerCombine {
  const void* incoming;
  const void* own;
  void* out;
  std::int64_t count;
  comm::Type type;
  comm::Combine op;
  int divisor;
};

}  // namespace fnn::cuda
