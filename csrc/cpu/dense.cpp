#include "cpu/dense.h"

#include <algorithm>

#include "cpu/for_each.h"

namespace fnn::cpu {

Gemm dense_forward(const float* x, const float* w, float* y, std::int64_t n, std::int64_t in, std::int64_t out,
                   const Epilogue& epilogue) {
  return {{}, n, out, in, x, in, false, w, out, false, y, out, false, epilogue};
}

Gemm DenseBackward::weight_gradient() const {
  return {{}, in, out, n, x, in, true, dz, out, false, dw, out, accumulate, {}};
}

Gemm DenseBackward::input_gradient() const { return {{}, n, in, out, dz, out, false, w, out, true, dx, in, false, {}}; }

Scratch DenseBackward::scratch(int threads) const {
  const Scratch a = weight_gradient().scratch(threads), b = input_gradient().scratch(threads);
  return {0, std::max(a.per_thread, b.per_thread)};
}

void DenseBackward::operator()(const Worker& worker) const {
  if (activation != Activation::linear || dz != dy) {
    activation_gradient(worker, activation, alpha, saved, dy, dz, n * out);
    worker.barrier();
  }
  if (db != nullptr) column_sums(worker, dz, db, n, out, accumulate);
  if (dw != nullptr) weight_gradient()(worker);
  if (dx != nullptr) input_gradient()(worker);
}

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

}  // namespace fnn::cpu
