#include "cpu/gradient.h"

#include <algorithm>

#include "cpu/for_each.h"

namespace fnn::cpu {
namespace {

// Rows that are summed on their own before they are added to db: the rounding error grows with the terms of a sum
// (100,000 rows in one sum were off by 5e-6 of the largest result, in blocks by 4e-7).
constexpr std::int64_t kBlockRows = 512;

// Sums of `vectors` vectors of neighbouring columns, the last with `lanes` lanes; even and odd rows apart, which hides
// half of the latency.
template <int vectors>
FNN_INLINE void sum_columns(const float* dz, float* db, std::int64_t rows, std::int64_t columns, std::int64_t lanes,
                            bool accumulate) {
  Vec even[vectors], odd[vectors];
  const auto lanes_of = [lanes](int v) { return v == vectors - 1 ? lanes : kLanes; };
  for (int v = 0; v < vectors; ++v) {
    even[v] = Vec(0.f);
    odd[v] = Vec(0.f);
  }
  std::int64_t i = 0;
  for (; i + 2 <= rows; i += 2) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      even[v] += load_partial(dz + i * columns + v * kLanes, lanes_of(v));
      odd[v] += load_partial(dz + (i + 1) * columns + v * kLanes, lanes_of(v));
    }
  }
  for (int v = 0; v < vectors; ++v) {
    if (i < rows) even[v] += load_partial(dz + i * columns + v * kLanes, lanes_of(v));
    const Vec before = accumulate ? load_partial(db + v * kLanes, lanes_of(v)) : Vec(0.f);
    store_partial(db + v * kLanes, before + (even[v] + odd[v]), lanes_of(v));
  }
}

}  // namespace

void activation_gradient(Activation activation, float alpha, const float* saved, const float* dy, float* dz,
                         std::int64_t count) {
  if (saved == nullptr) saved = dy;  // linear: not looked at
  with_activation(activation, alpha,
                  [&](auto f) { map(0, count, dz, [f](Vec s, Vec d) { return f.gradient(s, d); }, saved, dy); });
}

void column_sums(const float* dz, float* db, std::int64_t rows, std::int64_t columns, bool accumulate) {
  column_sums({0, columns}, dz, db, rows, columns, accumulate);
}

void column_sums(Range mine, const float* dz, float* db, std::int64_t rows, std::int64_t columns, bool accumulate) {
  constexpr std::int64_t kWide = 4 * kLanes;
  for (std::int64_t first = 0; first == 0 || first < rows; first += kBlockRows) {
    const float* from = dz + first * columns + mine.begin;
    const std::int64_t count = std::min(kBlockRows, rows - first);
    const bool adds = accumulate || first > 0;
    std::int64_t j = 0;
    for (; j + kWide <= mine.size(); j += kWide) sum_columns<4>(from + j, db + j, count, columns, kLanes, adds);
    for (; j < mine.size(); j += kLanes)
      sum_columns<1>(from + j, db + j, count, columns, std::min<std::int64_t>(kLanes, mine.size() - j), adds);
  }
}

void begin_backward(const Worker& worker, Activation activation, float alpha, const float* saved, const float* dy,
                    float* dz, float* db, std::int64_t rows, std::int64_t columns, bool accumulate) {
  if (activation != Activation::linear || dz != dy) {
    const Range mine = share(rows * columns, worker.rank, worker.size, 16);
    const float* mine_saved = saved == nullptr ? nullptr : saved + mine.begin;
    activation_gradient(activation, alpha, mine_saved, dy + mine.begin, dz + mine.begin, mine.size());
    worker.barrier();
  }
  if (db == nullptr) return;
  const Range mine = share(columns, worker.rank, worker.size, kLanes);
  column_sums(mine, dz, db + mine.begin, rows, columns, accumulate);
}

void sum_parts(const Worker& worker, const float* parts, std::int64_t count, float* dw, bool accumulate) {
  const Range mine = share(count, worker.rank, worker.size, kLanes);
  for (int part = 0; part < worker.size; ++part, parts += count) {
    if (part == 0 && !accumulate)
      map(mine.begin, mine.end, dw, [](Vec p) { return p; }, parts);
    else
      map(mine.begin, mine.end, dw, [](Vec sum, Vec p) { return sum + p; }, static_cast<const float*>(dw), parts);
  }
}

}  // namespace fnn::cpu
