#include "cpu/conv_steps.h"

namespace fnn::cpu {

Scratch ConvBackward::scratch(int threads) const {
  if (ConvSteps::possible(*this, threads)) return ConvSteps(*this).scratch(threads);
  return enough_for(weight_gradient().scratch(threads), input_gradient().scratch(threads));
}

void ConvBackward::operator()(const Worker& worker) const {
  const std::int64_t size = shape.pixels() * shape.f;  // of an image of dz
  if (ConvSteps::possible(*this, worker.size)) {
    return ConvSteps(*this).run(worker, [&](Range images) -> Images<const float> {
      const std::int64_t at = images.begin * size;
      if (activation != Activation::linear || dz != dy)
        activation_gradient(activation, alpha, saved == nullptr ? nullptr : saved + at, dy + at, dz + at,
                            images.size() * size);
      return {dz, size};
    });
  }
  begin_backward(worker, activation, alpha, saved, dy, dz, db, shape.n * shape.pixels(), shape.f, accumulate);
  if (dw != nullptr) weight_gradient()(worker);
  if (dw != nullptr && dx != nullptr) worker.barrier();  // the shared scratch changes hands
  if (dx != nullptr) input_gradient()(worker);
}

}  // namespace fnn::cpu
