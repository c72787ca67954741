// The products of recurrent layers on the CPU.
//
// Samples don't know each other: each thread takes some of them through all steps, so that there's no barrier inside of
// a sequence, and a step's sums stay in cache between product and gates. The product of x and w is made step by step as
// well: for all steps at once its results would go to memory and back (7 MB for 128 sequences of 28 steps and 128 units
// of an LSTM). Weights are packed once a call. What is summed up over all steps is one product in the end.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/panel.h"
#include "cpu/recurrent_gradients.h"

namespace fnn::cpu {

// A matrix [depth, columns] in panels as wide as the widest tile, each contiguous: rows of a wide matrix lie so far
// apart that they evict each other from the first-level cache. Results have the same bits however rows are divided.
class Panels {
 public:
  Panels(std::int64_t depth, std::int64_t columns) : depth_(depth), columns_(columns) {}

  std::int64_t floats() const { return count() * depth_ * kWidth; }
  // Each thread packs some panels; a barrier has to follow. `transposed`: b is [columns, depth].
  void pack(const Worker& worker, const float* b, std::int64_t ldb, bool transposed, float* packed) const;
  // c [rows, columns] (+)= a b + bias, by one thread.
  void multiply(const float* packed, std::int64_t rows, const float* a, std::int64_t lda, float* c, std::int64_t ldc,
                const float* bias, bool accumulate, float* scratch) const;
  std::int64_t scratch_floats(std::int64_t rows) const;

 private:
  static constexpr std::int64_t kWidth = kMaxTileVectors * kLanes;
  std::int64_t count() const { return (columns_ + kWidth - 1) / kWidth; }
  Gemm product(std::int64_t rows, std::int64_t columns) const;

  std::int64_t depth_, columns_;
};

// Samples that go through the steps together: their gates and states stay in the second-level cache.
inline constexpr std::int64_t kMostSamples = 64;

// The rows of a step's sums lie this far apart: not at a power of two.
inline std::int64_t step_stride(std::int64_t columns) { return columns + 16; }

// Calls body(samples) for parts of this thread's samples.
template <class Body>
void for_samples(const Worker& worker, std::int64_t n, const Body& body) {
  const Range mine = share(n, worker.rank, worker.size);
  const std::int64_t parts = (mine.size() + kMostSamples - 1) / kMostSamples;
  for (std::int64_t part = 0; part < parts; ++part)
    body(Range{mine.begin + mine.size() * part / parts, mine.begin + mine.size() * (part + 1) / parts});
}

// Writes a step's output where it's wanted.
void put_output(const Recurrence& k, const float* from, std::int64_t sample, std::int64_t step, float* y, float* h);
// dh += what of dy belongs to this step.
void add_output_gradient(const Recurrence& k, const float* dy, std::int64_t sample, std::int64_t step, float* dh);

// dbias (+)= sums of some columns of dz
void sum_biases(const Worker& worker, const Recurrence& k, const float* dz, std::int64_t ldz, std::int64_t columns,
                float* dbias, bool accumulate);
void clear_first_steps(const Worker& worker, const Recurrence& k, float* dz, std::int64_t ldz, std::int64_t columns);

}  // namespace fnn::cpu
