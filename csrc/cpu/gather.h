// Rows of an array, picked by number.
#pragma once
#include <cstdint>

#include "base/kernel.h"

namespace fnn::cpu {

// out[i] = x[index[i]] for rows of row_bytes bytes; every index is in range, at least 0 and below x_rows.
struct GatherRows : Kernel {
  const char* x;
  const std::int64_t* index;
  char* out;
  std::int64_t count, row_bytes, x_rows;

  std::int64_t work() const { return count * (row_bytes / 4 + 4); }
  Partition after() const { return row_bytes < 64 ? Partition{} : Partition{Partition::rows, count}; }
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
