#include <algorithm>

#include "cpu/conv.h"
#include "cpu/gradient.h"

namespace fnn::cpu {

Scratch ConvBackward::scratch(int threads) const {
  const Scratch a = weight_gradient().scratch(threads), b = input_gradient().scratch(threads);
  return {std::max(a.shared, b.shared), std::max(a.per_thread, b.per_thread)};
}

void ConvBackward::operator()(const Worker& worker) const {
  begin_backward(worker, activation, alpha, saved, dy, dz, db, shape.n * shape.pixels(), shape.f, accumulate);
  if (dw != nullptr) weight_gradient()(worker);
  if (dw != nullptr && dx != nullptr) worker.barrier();  // the shared scratch changes hands
  if (dx != nullptr) input_gradient()(worker);
}

}  // namespace fnn::cpu
