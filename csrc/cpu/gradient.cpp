#include "cpu/gradient.h"

#include <algorithm>

#include "cpu/for_each.h"

namespace fnn::cpu {

void activation_gradient(const Worker& worker, Activation activation, float alpha, const float* saved, const float* dy,
                         float* dz, std::int64_t count) {
  if (saved == nullptr) saved = dy;  // linear: not looked at
  with_activation(activation, alpha, [&](auto f) {
    map_share(worker, count, dz, [f](Vec s, Vec d) { return f.gradient(s, d); }, saved, dy);
  });
}

void column_sums(const Worker& worker, const float* dz, float* db, std::int64_t rows, std::int64_t columns,
                 bool accumulate) {
  const Range mine = share(columns, worker.rank, worker.size, kLanes);
  for (std::int64_t j = mine.begin; j < mine.end; j += kLanes) {
    const std::int64_t lanes = std::min<std::int64_t>(kLanes, mine.end - j);
    Vec sum = accumulate ? load_partial(db + j, lanes) : Vec(0.f);
    for (std::int64_t i = 0; i < rows; ++i) sum += load_partial(dz + i * columns + j, lanes);
    store_partial(db + j, sum, lanes);
  }
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
