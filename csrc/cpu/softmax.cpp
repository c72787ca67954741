#include "cpu/softmax.h"

#include <cmath>

#include "cpu/for_each.h"
#include "cpu/lanes.h"

namespace fnn::cpu {
namespace {

// Largest element; a NaN is passed over or returned, and either way the exponentials of its row hold it.
float row_max(const float* x, std::int64_t cols) {
  Vec best(-INFINITY);
  for_lanes(0, cols, [&](std::int64_t c, auto lanes) { best = max(best, fill(load(x + c, lanes), -INFINITY, lanes)); });
  return reduce_max(best);
}

// y = exp(x - shift), and the sum of y.
float row_exp(const float* x, float* y, std::int64_t cols, float shift) {
  Vec sum(0.f);
  for_lanes(0, cols, [&](std::int64_t c, auto lanes) {
    const Vec e = exp(load(x + c, lanes) - Vec(shift));
    store(y + c, e, lanes);
    sum += fill(e, 0.f, lanes);
  });
  return reduce_add(sum);
}

float row_dot(const float* a, const float* b, std::int64_t cols) {
  Vec sum(0.f);
  for_lanes(0, cols, [&](std::int64_t c, auto lanes) { sum += load(a + c, lanes) * load(b + c, lanes); });
  return reduce_add(sum);
}

}  // namespace

void SoftmaxForward::operator()(const Worker& worker) const {
  const Range mine = share(rows, worker.rank, worker.size);
  for (std::int64_t r = mine.begin; r < mine.end; ++r) {
    const float* in = x + r * cols;
    float* out = y + r * cols;
    const float sum = row_exp(in, out, cols, row_max(in, cols));
    const Vec scale(1.f / sum);
    map(0, cols, out, [scale](Vec e) { return e * scale; }, out);
  }
}

void SoftmaxBackward::operator()(const Worker& worker) const {
  const Range mine = share(rows, worker.rank, worker.size);
  for (std::int64_t r = mine.begin; r < mine.end; ++r) {
    const std::int64_t at = r * cols;
    const Vec mean(row_dot(y + at, dy + at, cols));
    map(0, cols, dx + at, [mean](Vec p, Vec g) { return p * (g - mean); }, y + at, dy + at);
  }
}

}  // namespace fnn::cpu
