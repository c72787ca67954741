#include "cpu/embedding.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/for_each.h"

namespace fnn::cpu {
namespace {

// A part of the table's gradient: some columns of the entries whose number leaves `remainder` when divided by
// `divisor`. No two threads share an element, so sums need neither locks nor a fixed order of threads, and how often an
// id occurs doesn't matter as long as the columns alone give each thread a part.
struct Part {
  Range columns;
  std::int64_t divisor, remainder;

  bool has(std::int64_t entry) const { return divisor == 1 || entry % divisor == remainder; }
};

constexpr std::int64_t kColumns = 16;  // a cache line: less to share makes threads wait for each other's writes

Part part_of(const Worker& worker, std::int64_t width) {
  const std::int64_t most = std::clamp<std::int64_t>(width / kColumns, 1, worker.size);
  std::int64_t groups = most;  // of columns: as many as leave the fewest threads without a part
  for (std::int64_t g = most - 1; g > 0; --g)
    if (worker.size / g * g > worker.size / groups * groups) groups = g;
  const std::int64_t divisor = worker.size / groups;
  if (worker.rank >= groups * divisor) return {{0, 0}, 1, 0};
  const auto group = static_cast<int>(worker.rank % groups);
  return {share(width, group, static_cast<int>(groups), kColumns), divisor, worker.rank / groups};
}

}  // namespace

void EmbeddingForward::operator()(const Worker& worker) const {
  const Range mine = share(count, worker.rank, worker.size);
  for (std::int64_t i = mine.begin; i < mine.end; ++i) {
    const std::int64_t entry = ids[i];
    if (entry >= 0 && entry < entries)
      std::memcpy(y + i * width, w + entry * width, static_cast<std::size_t>(width) * sizeof(float));
    else
      std::fill_n(y + i * width, width, NAN);
  }
}

void EmbeddingBackward::operator()(const Worker& worker) const {
  const Part part = part_of(worker, width);
  const std::int64_t first = part.columns.begin, columns = part.columns.size();
  if (columns == 0) return;
  for (std::int64_t entry = part.remainder; !accumulate && entry < entries; entry += part.divisor)
    std::fill_n(dw + entry * width + first, columns, 0.f);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t entry = ids[i];
    if (entry < 0 || entry >= entries || !part.has(entry)) continue;
    float* sum = dw + entry * width + first;
    map(0, columns, sum, [](Vec a, Vec b) { return a + b; }, sum, dy + i * width + first);
  }
}

}  // namespace fnn::cpu
