#include "cpu/dense.h"

#include <algorithm>

#include "cpu/gradient.h"

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
  begin_backward(worker, activation, alpha, saved, dy, dz, db, n, out, accumulate);
  if (dw != nullptr) weight_gradient()(worker);
  if (dx != nullptr) input_gradient()(worker);
}

}  // namespace fnn::cpu
