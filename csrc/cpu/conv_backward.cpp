#include <algorithm>

#include "cpu/conv.h"
#include "cpu/gradient.h"

namespace fnn::cpu {

Scratch ConvBackward::scratch(int threads) const {
  const Scratch a = weight_gradient().scratch(threads), b = input_gradient().scratch(threads);
  return {std::max(a.shared, b.shared), std::max(a.per_thread, b.per_thread)};
}

void ConvBackward::operator()(const Worker& worker) const {
  const std::int64_t rows = shape.n * shape.pixels();
  if (activation != Activation::linear || dz != dy) {
    activation_gradient(worker, activation, alpha, saved, dy, dz, rows * shape.f);
    worker.barrier();
  }
  if (db != nullptr) column_sums(worker, dz, db, rows, shape.f, accumulate);
  if (dw != nullptr) weight_gradient()(worker);
  if (dw != nullptr && dx != nullptr) worker.barrier();  // the shared scratch changes hands
  if (dx != nullptr) input_gradient()(worker);
}

}  // namespace fnn::cpu
