// The small state of a training step that changes from step to step: where the epoch stands, which samples are next,
// learning rate, step and random counters, the loss. It lives in memory and is moved on by kernels, so that a captured
// step can be replayed. All run on one thread, the same formulas on host and device.
#pragma once
#include <cmath>
#include <cstdint>

#include "base/kernel.h"
#include "base/macros.h"

namespace fnn::cpu {

struct Control : Kernel {
  std::int64_t work() const { return 0; }
};

// index[i] = order[*position * batch + i] for i < count, and *total = 0. Past the end of order, which has `samples`
// elements, the index is -1.
struct BeginBatch : Control {
  const std::int64_t* order;
  std::int64_t samples;
  const std::int64_t* position;
  std::int64_t* index;
  std::int64_t batch, count;
  double* total;
  FNN_HD std::int64_t sample(std::int64_t i) const {
    const std::int64_t at = *position * batch + i;
    return at >= 0 && at < samples ? order[at] : -1;
  }
  void operator()(const Worker&) const {
    for (std::int64_t i = 0; i < count; ++i) index[i] = sample(i);
    *total = 0.0;
  }
};

// *total = 0: the loss of a batch that lies where the tape's ports are.
struct ClearLoss : Control {
  double* total;
  FNN_HD void apply() const { *total = 0.0; }
  void operator()(const Worker&) const { apply(); }
};

// The counter of a random state (seed, counter): the next masks.
struct AdvanceRandom : Control {
  std::uint64_t* state;
  FNN_HD void apply() const { ++state[1]; }
  void operator()(const Worker&) const { apply(); }
};

// losses[*slot] = *total, where there is such a slot among `slots`.
struct StoreLoss : Control {
  const double* total;
  double* losses;
  const std::int64_t* slot;
  std::int64_t slots;
  FNN_HD void apply() const {
    if (*slot >= 0 && *slot < slots) losses[*slot] = *total;
  }
  void operator()(const Worker&) const { apply(); }
};

// *found = 1 if *value is NaN or infinite. A step that was captured as a graph runs to its end; the optimizer's update
// leaves everything as it is where found_inf isn't 0.
struct NoteNonfinite : Control {
  const double* value;
  float* found;
  FNN_HD void apply() const {
    if (!(*value - *value == 0.0)) *found = 1.f;
  }
  void operator()(const Worker&) const { apply(); }
};

// *rate = rates[*slot], NaN where there is no such slot among `slots`; the optimizer's step count goes up by one.
struct BeginUpdate : Control {
  const double* rates;
  const std::int64_t* slot;
  std::int64_t slots;
  double* rate;
  std::int64_t* step;
  FNN_HD void apply() const {
    *rate = *slot >= 0 && *slot < slots ? rates[*slot] : static_cast<double>(NAN);
    ++*step;
  }
  void operator()(const Worker&) const { apply(); }
};

// The next batch of the epoch, and the next slot of losses and rates.
struct EndBatch : Control {
  std::int64_t* position;
  std::int64_t* slot;
  FNN_HD void apply() const {
    ++*position;
    ++*slot;
  }
  void operator()(const Worker&) const { apply(); }
};

}  // namespace fnn::cpu
