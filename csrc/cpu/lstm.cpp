#include "cpu/arena.h"
#include "cpu/for_each.h"
#include "cpu/gradient.h"
#include "cpu/lanes.h"
#include "cpu/recurrent_products.h"
#include "math/recurrent.h"

namespace fnn::cpu {
namespace {

struct ForwardMemory {
  float *w, *r;                // shared: the packed weights
  float *z, *h, *c, *product;  // a thread's: a step's sums and states, scratch of the products
  Scratch need;

  ForwardMemory(const LstmForward& k, void* shared, void* own) {
    const Panels input(k.features, 4 * k.units), before(k.units, 4 * k.units);
    const std::int64_t rows = std::min(kMostSamples, k.n);
    ArenaCutter cut_shared(shared), cut(own);
    w = cut_shared.take<float>(input.floats());
    r = cut_shared.take<float>(before.floats());
    z = cut.take<float>(rows * step_stride(4 * k.units));
    h = cut.take<float>(rows * k.units);
    c = cut.take<float>(rows * k.units);
    product = cut.take<float>(std::max(input.scratch_floats(rows), before.scratch_floats(rows)));
    need = {cut_shared.used(), cut.used()};
  }
};

// A step of one sample: z becomes the gates; c and h, those of the step before, become this step's.
void forward_cell(const LstmForward& k, float* z, float* c, float* h) {
  const std::int64_t u = k.units;
  activate(k.recurrent_activation, k.recurrent_alpha, z, z, 2 * u);
  activate(k.activation, k.alpha, z + 2 * u, z + 2 * u, u);
  activate(k.recurrent_activation, k.recurrent_alpha, z + 3 * u, z + 3 * u, u);
  const float *i = z, *f = z + u, *g = z + 2 * u, *o = z + 3 * u, *before = c;
  map(
      0, u, c, [](Vec in, Vec keep, Vec candidate, Vec state) { return lstm_state(in, keep, candidate, state); }, i, f,
      g, before);
  activate(k.activation, k.alpha, c, h, u);
  map(0, u, h, [](Vec a, Vec b) { return a * b; }, o, static_cast<const float*>(h));
}

struct BackwardMemory {
  float* r;                                      // shared: the packed recurrent weights
  float *dz, *dh, *dc, *bent, *zeros, *product;  // a thread's
  Scratch need;

  BackwardMemory(const LstmBackward& k, void* shared, void* own) {
    const Panels before(4 * k.units, k.units);
    const std::int64_t rows = std::min(kMostSamples, k.n);
    ArenaCutter cut_shared(shared), cut(own);
    r = cut_shared.take<float>(before.floats());
    dz = cut.take<float>(rows * step_stride(4 * k.units));
    dh = cut.take<float>(rows * k.units);
    dc = cut.take<float>(rows * k.units);
    bent = cut.take<float>(k.units);
    zeros = cut.take<float>(k.units);
    product = cut.take<float>(before.scratch_floats(rows));
    need = {cut_shared.used(), cut.used()};
  }
};

// A step of one sample: dz from dh and dc, and dc of the step before.
void backward_cell(const LstmBackward& k, const float* gates, const float* c, const float* before, const float* dh,
                   float* dc, float* dz, float* bent) {
  const std::int64_t u = k.units;
  activate(k.activation, k.alpha, c, bent, u);
  float* through_h = dz + 3 * u;
  map(0, u, through_h, [](Vec a, Vec b) { return a * b; }, gates + 3 * u, dh);
  activation_gradient(k.activation, k.alpha, bent, through_h, through_h, u);
  for_lanes(0, u, [&](std::int64_t j, auto lanes) {
    const auto gate = [&](int which) { return load(gates + which * u + j, lanes); };
    const Vec state = load(dc + j, lanes) + load(through_h + j, lanes);
    const LstmGradient<Vec> d = lstm_gradient(gate(0), gate(1), gate(2), load(before + j, lanes), load(bent + j, lanes),
                                              load(dh + j, lanes), state);
    store(dz + j, d.i, lanes);
    store(dz + u + j, d.f, lanes);
    store(dz + 2 * u + j, d.g, lanes);
    store(dz + 3 * u + j, d.o, lanes);
    store(dc + j, d.before, lanes);
  });
  activation_gradient(k.recurrent_activation, k.recurrent_alpha, gates, dz, dz, 2 * u);
  activation_gradient(k.activation, k.alpha, gates + 2 * u, dz + 2 * u, dz + 2 * u, u);
  activation_gradient(k.recurrent_activation, k.recurrent_alpha, gates + 3 * u, dz + 3 * u, dz + 3 * u, u);
}

// All steps of this thread's samples, from the last to the first.
void backward_steps(const LstmBackward& k, const Worker& worker, const BackwardMemory& m) {
  const std::int64_t u = k.units, ldz = step_stride(4 * u);
  const Panels before(4 * u, u);
  std::fill_n(m.zeros, u, 0.f);
  for_samples(worker, k.n, [&](Range samples) {
    std::fill_n(m.dh, samples.size() * u, 0.f);
    std::fill_n(m.dc, samples.size() * u, 0.f);
    for (std::int64_t step = k.steps - 1; step >= 0; --step) {
      for (std::int64_t i = samples.begin; i < samples.end; ++i) {
        const std::int64_t row = i - samples.begin, at = place(k, i, step);
        float *dh = m.dh + row * u, *dz = m.dz + row * ldz;
        add_output_gradient(k, k.dy, i, step, dh);
        const float* state = step == 0 ? m.zeros : k.c + place(k, i, step - 1) * u;
        backward_cell(k, k.gates + at * 4 * u, k.c + at * u, state, dh, m.dc + row * u, dz, m.bent);
        std::copy_n(dz, 4 * u, k.dz + at * 4 * u);
      }
      if (step > 0) before.multiply(m.r, samples.size(), m.dz, ldz, m.dh, u, nullptr, false, m.product);
    }
  });
}

}  // namespace

Scratch LstmForward::scratch(int) const { return ForwardMemory(*this, nullptr, nullptr).need; }

void LstmForward::operator()(const Worker& worker) const {
  const ForwardMemory m(*this, worker.shared<void>(), worker.scratch<void>());
  const std::int64_t u = units, ldz = step_stride(4 * u);
  const Panels input(features, 4 * u), before(u, 4 * u);
  input.pack(worker, w, 4 * u, false, m.w);
  before.pack(worker, r, 4 * u, false, m.r);
  worker.barrier();
  for_samples(worker, n, [&](Range samples) {
    const std::int64_t rows = samples.size();
    std::fill_n(m.c, rows * u, 0.f);
    for (std::int64_t step = 0; step < steps; ++step) {
      const float* now = x + place(*this, samples.begin, step) * features;
      input.multiply(m.w, rows, now, steps * features, m.z, ldz, bias, false, m.product);
      if (step > 0) before.multiply(m.r, rows, m.h, u, m.z, ldz, nullptr, true, m.product);
      for (std::int64_t row = 0; row < rows; ++row) {
        float *z = m.z + row * ldz, *state = m.c + row * u;
        forward_cell(*this, z, state, m.h + row * u);
        const std::int64_t at = place(*this, samples.begin + row, step);
        if (gates != nullptr) std::copy_n(z, 4 * u, gates + at * 4 * u);
        if (c != nullptr) std::copy_n(state, u, c + at * u);
        put_output(*this, m.h + row * u, samples.begin + row, step, y, h);
      }
    }
  });
}

Scratch LstmBackward::scratch(int threads) const {
  const StepGradients of{*this, 4 * units};
  Scratch need = BackwardMemory(*this, nullptr, nullptr).need;
  need = enough_for(need, of.input_weights(x, dz, 4 * units, dw, 4 * units, accumulate).scratch(threads));
  need = enough_for(need, of.recurrent_weights(h, dz, 4 * units, dr, 4 * units, accumulate).scratch(threads));
  return enough_for(need, of.inputs(dz, 4 * units, w, 4 * units, dx, false).scratch(threads));
}

void LstmBackward::operator()(const Worker& worker) const {
  const BackwardMemory m(*this, worker.shared<void>(), worker.scratch<void>());
  const std::int64_t columns = 4 * units;
  const StepGradients of{*this, columns};
  Panels(columns, units).pack(worker, r, columns, true, m.r);
  worker.barrier();
  backward_steps(*this, worker, m);
  worker.barrier();
  if (dw != nullptr) of.input_weights(x, dz, columns, dw, columns, accumulate)(worker);
  if (dbias != nullptr) sum_biases(worker, *this, dz, columns, columns, dbias, accumulate);
  if (dx != nullptr) of.inputs(dz, columns, w, columns, dx, false)(worker);
  worker.barrier();
  clear_first_steps(worker, *this, dz, columns, columns);
  worker.barrier();
  if (dr != nullptr) of.recurrent_weights(h, dz, columns, dr, columns, accumulate)(worker);
}

}  // namespace fnn::cpu
