// Loops over the columns of a matrix in strips that stay in registers while many rows go by.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/thread_team.h"
#include "cpu/lanes.h"

namespace fnn::cpu {

// Rows that are gone through at once: a strip of them fits the first-level cache, and sums of so few elements are exact
// enough in float32; longer sums are made of theirs in float64.
inline constexpr std::int64_t kStripRows = 64;

// Calls body(column, vectors, lanes) for strips of `kVectors` whole vectors and then for single ones, of which the last
// may be partial; `vectors` is a std::integral_constant.
template <int kVectors, class Body>
FNN_INLINE void for_strips(Range columns, const Body& body) {
  std::int64_t j = columns.begin;
  for (; j + kVectors * kLanes <= columns.end; j += kVectors * kLanes)
    body(j, std::integral_constant<int, kVectors>{}, AllLanes{});
  for (; j + kLanes <= columns.end; j += kLanes) body(j, std::integral_constant<int, 1>{}, AllLanes{});
  if (j < columns.end) body(j, std::integral_constant<int, 1>{}, FirstLanes{columns.end - j});
}

// The part of a matrix that is a thread's own: some columns of all rows where there are columns enough for all threads,
// which then share no sum, else some rows.
struct Region {
  Range rows, columns;
  bool by_columns;
};
inline Region region_of(const Worker& worker, std::int64_t rows, std::int64_t columns) {
  const bool by_columns = worker.size > 1 && rows <= 1024 && columns >= 64 * worker.size;
  if (by_columns) return {{0, rows}, share(columns, worker.rank, worker.size, 16), true};
  return {share(rows, worker.rank, worker.size), {0, columns}, false};
}

}  // namespace fnn::cpu
