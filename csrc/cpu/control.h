// The small state of a training step that changes from step to step: where the epoch stands, which samples are next,
// learning rate, step and random counters, the loss. It lives in memory and is moved on by kernels, so that a captured
// step can be replayed. All run on one thread.
#pragma once
#include <cstdint>

#include "base/kernel.h"

namespace fnn::cpu {

struct Control : Kernel {
  std::int64_t work() const { return 0; }
};

// index[i] = order[*position * batch + i] for i < count, and *total = 0.
struct BeginBatch : Control {
  const std::int64_t* order;
  const std::int64_t* position;
  std::int64_t* index;
  std::int64_t batch, count;
  double* total;
  void operator()(const Worker&) const {
    for (std::int64_t i = 0; i < count; ++i) index[i] = order[*position * batch + i];
    *total = 0.0;
  }
};

// *total = 0: the loss of a batch that lies where the tape's ports are.
struct ClearLoss : Control {
  double* total;
  void operator()(const Worker&) const { *total = 0.0; }
};

// The counter of a random state (seed, counter): the next masks.
struct AdvanceRandom : Control {
  std::uint64_t* state;
  void operator()(const Worker&) const { ++state[1]; }
};

// losses[*slot] = *total
struct StoreLoss : Control {
  const double* total;
  double* losses;
  const std::int64_t* slot;
  void operator()(const Worker&) const { losses[*slot] = *total; }
};

// *rate = rates[*slot], and the optimizer's step count goes up by one.
struct BeginUpdate : Control {
  const double* rates;
  const std::int64_t* slot;
  double* rate;
  std::int64_t* step;
  void operator()(const Worker&) const {
    *rate = rates[*slot];
    ++*step;
  }
};

// The next batch of the epoch, and the next slot of losses and rates.
struct EndBatch : Control {
  std::int64_t* position;
  std::int64_t* slot;
  void operator()(const Worker&) const {
    ++*position;
    ++*slot;
  }
};

}  // namespace fnn::cpu
