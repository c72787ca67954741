#include "cpu/gemv.h"

#include <algorithm>

#include "cpu/lanes.h"
#include "cpu/panel.h"

namespace fnn::cpu {
namespace {

constexpr int kMaxVectors = 8;  // a strip of this many vectors of W is read row by row

// As many sums of a column as hide the latency of an addition where W is narrow. They are a function of W's width
// alone, so that the result does not depend on the number of threads.
constexpr int chains_of(std::int64_t columns) { return columns <= kLanes ? 4 : columns <= 2 * kLanes ? 2 : 1; }

// A strip of W, from its first element on.
struct Strip {
  const float* x;
  std::int64_t x_step, k;
  const float* w;
  std::int64_t ldw, columns;
  const float* bias;
};

template <int kVectors, class Last>
FNN_INLINE void add_row(const float* x, const float* w, const Last& last, Vec (&sum)[kVectors]) {
  const Vec element(*x);
#pragma GCC unroll 8
  for (int v = 0; v + 1 < kVectors; ++v) sum[v] += element * load(w + v * kLanes);
  sum[kVectors - 1] += element * load(w + (kVectors - 1) * kLanes, last);
}

template <int kVectors, int kChains, class Last>
FNN_INLINE void add_rows(const Strip& s, std::int64_t begin, std::int64_t end, const Last& last,
                         Vec (&sum)[kChains][kVectors]) {
  const std::int64_t x_step = s.x_step, ldw = s.ldw;
  const float* x = s.x + begin * x_step;
  const float* w = s.w + begin * ldw;
  std::int64_t left = end - begin;
  for (; left >= kChains; left -= kChains, x += kChains * x_step, w += kChains * ldw) {
    add_row(x, w, last, sum[0]);
    if constexpr (kChains > 1) add_row(x + x_step, w + ldw, last, sum[1]);
    if constexpr (kChains > 2) {
      add_row(x + 2 * x_step, w + 2 * ldw, last, sum[2]);
      add_row(x + 3 * x_step, w + 3 * ldw, last, sum[3]);
    }
  }
  for (; left > 0; --left, x += x_step, w += ldw) add_row(x, w, last, sum[0]);
}

// y = bias + x W for one strip, then `finish` on each vector.
template <int kVectors, int kChains, class Finish>
void multiply_strip(const Strip& s, float* y, const Finish& finish) {
  const FirstLanes last{s.columns - (kVectors - 1) * kLanes};
  Vec sum[kChains][kVectors];
#pragma GCC unroll 4
  for (int chain = 0; chain < kChains; ++chain) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[chain][v] = Vec(0.f);
  }
  if (s.bias != nullptr) {
#pragma GCC unroll 8
    for (int v = 0; v + 1 < kVectors; ++v) sum[0][v] = load(s.bias + v * kLanes);
    sum[0][kVectors - 1] = load(s.bias + (kVectors - 1) * kLanes, last);
  }
  // Whole vectors may be read where rows follow that they reach into: partial ones are slow on most machines.
  const std::int64_t beyond = last.count == kLanes ? 0 : (kLanes - last.count + s.ldw - 1) / s.ldw;
  const std::int64_t whole = std::max<std::int64_t>(0, s.k - beyond) / kChains * kChains;
  add_rows<kVectors, kChains>(s, 0, whole, AllLanes{}, sum);
  add_rows<kVectors, kChains>(s, whole, s.k, last, sum);
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    Vec total = sum[0][v];
    if constexpr (kChains == 2) total = total + sum[1][v];
    if constexpr (kChains == 4) total = (total + sum[1][v]) + (sum[2][v] + sum[3][v]);
    if (v + 1 < kVectors)
      store(y + v * kLanes, finish(total, y + v * kLanes, AllLanes{}));
    else
      store(y + v * kLanes, finish(total, y + v * kLanes, last), last);
  }
}

template <class Finish>
void multiply_strip(const Strip& s, int chains, float* y, const Finish& finish) {
  switch ((s.columns + kLanes - 1) / kLanes) {
    case 1:
      return chains == 4   ? multiply_strip<1, 4>(s, y, finish)
             : chains == 2 ? multiply_strip<1, 2>(s, y, finish)
                           : multiply_strip<1, 1>(s, y, finish);
    case 2:
      return chains == 2 ? multiply_strip<2, 2>(s, y, finish) : multiply_strip<2, 1>(s, y, finish);
    case 3:
      return multiply_strip<3, 1>(s, y, finish);
    case 4:
      return multiply_strip<4, 1>(s, y, finish);
    case 5:
      return multiply_strip<5, 1>(s, y, finish);
    case 6:
      return multiply_strip<6, 1>(s, y, finish);
    case 7:
      return multiply_strip<7, 1>(s, y, finish);
    default:
      return multiply_strip<8, 1>(s, y, finish);
  }
}

}  // namespace

void multiply_row(const Gemm& g, Range columns) {
  const Epilogue& e = g.epilogue;
  const int chains = chains_of(g.n);
  const bool relu = e.activation == Activation::relu && e.z == nullptr;
  float* sums = e.z != nullptr ? e.z : g.c;
  for (std::int64_t j = columns.begin; j < columns.end; j += kMaxVectors * kLanes) {
    const Strip strip = {g.a,
                         g.a_transposed ? g.lda : 1,
                         g.k,
                         g.b + j,
                         g.ldb,
                         std::min<std::int64_t>(columns.end - j, kMaxVectors * kLanes),
                         e.bias == nullptr ? nullptr : e.bias + j};
    float* y = sums + j;
    if (relu)
      multiply_strip(strip, chains, y, [](Vec v, const float*, auto) { return max(v, Vec(0.f)); });
    else if (g.accumulate)
      multiply_strip(strip, chains, y, [](Vec v, const float* old, auto lanes) { return v + load(old, lanes); });
    else
      multiply_strip(strip, chains, y, [](Vec v, const float*, auto) { return v; });
  }
  if (relu || (e.activation == Activation::linear && e.z == nullptr)) return;
  activate(e.activation, e.alpha, sums + columns.begin, g.c + columns.begin, columns.size());
}

}  // namespace fnn::cpu
