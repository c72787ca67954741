#include "cpu/arena.h"
#include "cpu/gradient.h"
#include "cpu/recurrent_products.h"

namespace fnn::cpu {
namespace {

struct ForwardMemory {
  float *w, *r;            // shared: the packed weights
  float *z, *h, *product;  // a thread's: a step's sums and outputs, scratch of the products
  Scratch need;

  ForwardMemory(const SimpleRnnForward& k, void* shared, void* own) {
    const Panels input(k.features, k.units), before(k.units, k.units);
    const std::int64_t rows = std::min(kMostSamples, k.n);
    ArenaCutter cut_shared(shared), cut(own);
    w = cut_shared.take<float>(input.floats());
    r = cut_shared.take<float>(before.floats());
    z = cut.take<float>(rows * step_stride(k.units));
    h = cut.take<float>(rows * k.units);
    product = cut.take<float>(std::max(input.scratch_floats(rows), before.scratch_floats(rows)));
    need = {cut_shared.used(), cut.used()};
  }
};

struct BackwardMemory {
  float* r;                  // shared: the packed recurrent weights
  float *dz, *dh, *product;  // a thread's
  Scratch need;

  BackwardMemory(const SimpleRnnBackward& k, void* shared, void* own) {
    const Panels before(k.units, k.units);
    const std::int64_t rows = std::min(kMostSamples, k.n);
    ArenaCutter cut_shared(shared), cut(own);
    r = cut_shared.take<float>(before.floats());
    dz = cut.take<float>(rows * step_stride(k.units));
    dh = cut.take<float>(rows * k.units);
    product = cut.take<float>(before.scratch_floats(rows));
    need = {cut_shared.used(), cut.used()};
  }
};

// All steps of this thread's samples, from the last to the first.
void backward_steps(const SimpleRnnBackward& k, const Worker& worker, const BackwardMemory& m) {
  const std::int64_t u = k.units, ldz = step_stride(u);
  const Panels before(u, u);
  for_samples(worker, k.n, [&](Range samples) {
    std::fill_n(m.dh, samples.size() * u, 0.f);
    for (std::int64_t step = k.steps - 1; step >= 0; --step) {
      for (std::int64_t i = samples.begin; i < samples.end; ++i) {
        const std::int64_t row = i - samples.begin, at = place(k, i, step) * u;
        float *dh = m.dh + row * u, *dz = m.dz + row * ldz;
        add_output_gradient(k, k.dy, i, step, dh);
        activation_gradient(k.activation, k.alpha, k.h + at, dh, dz, u);
        std::copy_n(dz, u, k.dz + at);
      }
      if (step > 0) before.multiply(m.r, samples.size(), m.dz, ldz, m.dh, u, nullptr, false, m.product);
    }
  });
}

}  // namespace

Scratch SimpleRnnForward::scratch(int) const { return ForwardMemory(*this, nullptr, nullptr).need; }

void SimpleRnnForward::operator()(const Worker& worker) const {
  const ForwardMemory m(*this, worker.shared<void>(), worker.scratch<void>());
  const std::int64_t u = units, ldz = step_stride(u);
  const Panels input(features, u), before(u, u);
  input.pack(worker, w, u, false, m.w);
  before.pack(worker, r, u, false, m.r);
  worker.barrier();
  for_samples(worker, n, [&](Range samples) {
    const std::int64_t rows = samples.size();
    for (std::int64_t step = 0; step < steps; ++step) {
      const float* now = x + place(*this, samples.begin, step) * features;
      input.multiply(m.w, rows, now, steps * features, m.z, ldz, bias, false, m.product);
      if (step > 0) before.multiply(m.r, rows, m.h, u, m.z, ldz, nullptr, true, m.product);
      for (std::int64_t row = 0; row < rows; ++row) {
        activate(activation, alpha, m.z + row * ldz, m.h + row * u, u);
        put_output(*this, m.h + row * u, samples.begin + row, step, y, h);
      }
    }
  });
}

Scratch SimpleRnnBackward::scratch(int threads) const {
  const StepGradients of{*this, units};
  Scratch need = BackwardMemory(*this, nullptr, nullptr).need;
  need = enough_for(need, of.input_weights(x, dz, units, dw, units, accumulate).scratch(threads));
  need = enough_for(need, of.recurrent_weights(h, dz, units, dr, units, accumulate).scratch(threads));
  return enough_for(need, of.inputs(dz, units, w, units, dx, false).scratch(threads));
}

void SimpleRnnBackward::operator()(const Worker& worker) const {
  const BackwardMemory m(*this, worker.shared<void>(), worker.scratch<void>());
  const StepGradients of{*this, units};
  Panels(units, units).pack(worker, r, units, true, m.r);
  worker.barrier();
  backward_steps(*this, worker, m);
  worker.barrier();
  if (dw != nullptr) of.input_weights(x, dz, units, dw, units, accumulate)(worker);
  if (dbias != nullptr) sum_biases(worker, *this, dz, units, units, dbias, accumulate);
  if (dx != nullptr) of.inputs(dz, units, w, units, dx, false)(worker);
  worker.barrier();
  clear_first_steps(worker, *this, dz, units, units);
  worker.barrier();
  if (dr != nullptr) of.recurrent_weights(h, dz, units, dr, units, accumulate)(worker);
}

}  // namespace fnn::cpu
