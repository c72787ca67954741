#include "cpu/gather.h"

#include <cstring>

namespace fnn::cpu {
namespace {

// Rows of one label or so: the copy is a move instruction and not a call.
template <std::int64_t kBytes>
void gather_small(const GatherRows& k, Range mine) {
  for (std::int64_t i = mine.begin; i < mine.end; ++i)
    std::memcpy(k.out + i * kBytes, k.x + k.index[i] * kBytes, kBytes);
}

}  // namespace

void GatherRows::operator()(const Worker& worker) const {
  const Range mine = share(count, worker.rank, worker.size, row_bytes < 64 ? 64 : 1);
  switch (row_bytes) {
    case 1:
      return gather_small<1>(*this, mine);
    case 2:
      return gather_small<2>(*this, mine);
    case 4:
      return gather_small<4>(*this, mine);
    case 8:
      return gather_small<8>(*this, mine);
    default:
      break;
  }
  if (row_bytes == 0) return;
  for (std::int64_t i = mine.begin; i < mine.end; ++i) {
    std::memcpy(out + i * row_bytes, x + index[i] * row_bytes, static_cast<std::size_t>(row_bytes));
  }
}

}  // namespace fnn::cpu
