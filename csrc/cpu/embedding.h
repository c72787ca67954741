// Embedding: rows of a table picked by ids, and the gradient of the table.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "base/macros.h"

namespace fnn::cpu {

// Row numbers as int32 or int64; one of the pointers is null.
struct RowIds {
  const std::int32_t* narrow;
  const std::int64_t* wide;
  FNN_HD std::int64_t operator[](std::int64_t i) const { return narrow != nullptr ? narrow[i] : wide[i]; }
};

// y[i] = w[ids[i]]: w [entries, width], y [count, width]. An id outside of the table gives NaN: a replay may find what
// nobody has checked.
struct EmbeddingForward : Kernel {
  const float* w;
  RowIds ids;
  float* y;
  std::int64_t entries, width, count;

  std::int64_t work() const { return count * (width / 2 + 4); }
  Partition after() const { return {Partition::rows, count}; }
  void operator()(const Worker& worker) const;
};

// dw[e] (+)= sum of dy[i] over all i with ids[i] = e, in their order; ids outside of the table count for nothing.
struct EmbeddingBackward : Kernel {
  RowIds ids;
  const float* dy;
  float* dw;
  std::int64_t entries, width, count;
  Flag accumulate;

  std::int64_t work() const { return (accumulate ? 0 : entries * width / 2) + count * (width + 4); }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
