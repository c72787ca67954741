#include "cpu/arena.h"
#include "cpu/for_each.h"
#include "cpu/gradient.h"
#include "cpu/lanes.h"
#include "cpu/recurrent_products.h"
#include "math/recurrent.h"

namespace fnn::cpu {
namespace {

// The four columns of blocks of a step's sums: update gate, reset gate, what the reset gate has to do with h', and the
// candidate. The weights of the first two and of the candidate are multiplied apart.
struct ForwardMemory {
  float *w, *w_candidate, *r, *r_candidate, *bias;  // shared: the packed weights; what is added to the four blocks
  float *z, *h, *product;                           // a thread's
  Scratch need;

  ForwardMemory(const GruForward& k, void* shared, void* own) {
    const std::int64_t u = k.units, rows = std::min(kMostSamples, k.n);
    const Panels input(k.features, 2 * u), candidate(k.features, u), before(u, 2 * u), state(u, u);
    ArenaCutter cut_shared(shared), cut(own);
    w = cut_shared.take<float>(input.floats());
    w_candidate = cut_shared.take<float>(candidate.floats());
    r = cut_shared.take<float>(before.floats());
    r_candidate = cut_shared.take<float>(state.floats());
    bias = cut_shared.take<float>(4 * u);
    z = cut.take<float>(rows * step_stride(4 * u));
    h = cut.take<float>(rows * u);
    product = cut.take<float>(std::max(input.scratch_floats(rows), before.scratch_floats(rows)));
    need = {cut_shared.used(), cut.used()};
  }
};

void pack_weights(const GruForward& k, const Worker& worker, const ForwardMemory& m) {
  const std::int64_t u = k.units;
  Panels(k.features, 2 * u).pack(worker, k.w, 3 * u, false, m.w);
  Panels(k.features, u).pack(worker, k.w + 2 * u, 3 * u, false, m.w_candidate);
  Panels(u, 2 * u).pack(worker, k.r, 3 * u, false, m.r);
  Panels(u, u).pack(worker, k.r + 2 * u, 3 * u, false, m.r_candidate);
  if (worker.rank != 0) return;
  std::fill_n(m.bias, 4 * u, 0.f);
  if (k.bias == nullptr) return;
  std::copy_n(k.bias, 2 * u, m.bias);
  std::copy_n(k.bias + 2 * u, u, m.bias + 3 * u);
  if (!k.reset_after) return;
  for (std::int64_t j = 0; j < 2 * u; ++j) m.bias[j] += k.bias[3 * u + j];
  std::copy_n(k.bias + 5 * u, u, m.bias + 2 * u);
}

Vec product_of(Vec a, Vec b) { return a * b; }

// The sums of a step of some samples, and of each the gates and h.
void forward_step(const GruForward& k, const ForwardMemory& m, Range samples, std::int64_t step) {
  const std::int64_t u = k.units, ldz = step_stride(4 * u), rows = samples.size(), lda = k.steps * k.features;
  const Panels before(u, 2 * u), state(u, u);
  const float* now = k.x + place(k, samples.begin, step) * k.features;
  Panels(k.features, 2 * u).multiply(m.w, rows, now, lda, m.z, ldz, m.bias, false, m.product);
  Panels(k.features, u).multiply(m.w_candidate, rows, now, lda, m.z + 3 * u, ldz, m.bias + 3 * u, false, m.product);
  if (step > 0) before.multiply(m.r, rows, m.h, u, m.z, ldz, nullptr, true, m.product);
  if (k.reset_after && step > 0)
    state.multiply(m.r_candidate, rows, m.h, u, m.z + 2 * u, ldz, m.bias + 2 * u, false, m.product);
  for (std::int64_t row = 0; row < rows; ++row) {
    float *z = m.z + row * ldz, *reset = z + u, *inner = z + 2 * u, *candidate = z + 3 * u;
    activate(k.recurrent_activation, k.recurrent_alpha, z, z, 2 * u);
    if (k.reset_after) {
      if (step == 0) std::copy_n(m.bias + 2 * u, u, inner);
      map(0, u, candidate, [](Vec sum, Vec gate, Vec h) { return sum + gate * h; }, candidate, reset, inner);
    } else {
      map(0, u, inner, product_of, reset, m.h + row * u);
    }
  }
  if (!k.reset_after && step > 0)
    state.multiply(m.r_candidate, rows, m.z + 2 * u, ldz, m.z + 3 * u, ldz, nullptr, true, m.product);
  for (std::int64_t row = 0; row < rows; ++row) {
    float *z = m.z + row * ldz, *h = m.h + row * u, *candidate = z + 3 * u;
    activate(k.activation, k.alpha, candidate, candidate, u);
    map(0, u, h, [](Vec gate, Vec old, Vec fresh) { return gru_output(gate, old, fresh); }, z, h, candidate);
    if (k.gates != nullptr) std::copy_n(z, 4 * u, k.gates + place(k, samples.begin + row, step) * 4 * u);
    put_output(k, h, samples.begin + row, step, k.y, k.h);
  }
}

struct BackwardMemory {
  float *r, *r_candidate;                    // shared: the packed recurrent weights
  float *dz, *dh, *inner, *zeros, *product;  // a thread's
  Scratch need;

  BackwardMemory(const GruBackward& k, void* shared, void* own) {
    const std::int64_t u = k.units, rows = std::min(kMostSamples, k.n);
    const Panels before(2 * u, u), state(u, u);
    ArenaCutter cut_shared(shared), cut(own);
    r = cut_shared.take<float>(before.floats());
    r_candidate = cut_shared.take<float>(state.floats());
    dz = cut.take<float>(rows * step_stride(4 * u));
    dh = cut.take<float>(rows * u);
    inner = cut.take<float>(rows * u);
    zeros = cut.take<float>(u);
    product = cut.take<float>(std::max(before.scratch_floats(rows), state.scratch_floats(rows)));
    need = {cut_shared.used(), cut.used()};
  }
};

// dz of the candidate, and of the update gate before its activation; dh becomes its part that goes to h' directly.
void output_gradient(const GruBackward& k, const float* gates, const float* before, float* dh, float* dz) {
  const std::int64_t u = k.units;
  for_lanes(0, u, [&](std::int64_t j, auto lanes) {
    const GruGradient<Vec> d = gru_gradient(load(gates + j, lanes), load(before + j, lanes),
                                            load(gates + 3 * u + j, lanes), load(dh + j, lanes));
    store(dz + j, d.z, lanes);
    store(dz + 3 * u + j, d.candidate, lanes);
    store(dh + j, d.before, lanes);
  });
  activation_gradient(k.activation, k.alpha, gates + 3 * u, dz + 3 * u, dz + 3 * u, u);
}

// The gradients of the reset gate and of what it was multiplied with.
void reset_gradient(const GruBackward& k, const float* gates, const float* before, const float* d_inner, float* dh,
                    float* dz) {
  const std::int64_t u = k.units;
  if (k.reset_after) {
    map(0, u, dz + u, product_of, static_cast<const float*>(dz + 3 * u), gates + 2 * u);
    map(0, u, dz + 2 * u, product_of, static_cast<const float*>(dz + 3 * u), gates + u);
  } else {
    map(0, u, dz + u, product_of, d_inner, before);
    map(
        0, u, dh, [](Vec sum, Vec d, Vec gate) { return sum + d * gate; }, static_cast<const float*>(dh), d_inner,
        gates + u);
    std::copy_n(d_inner, u, dz + 2 * u);
  }
  activation_gradient(k.recurrent_activation, k.recurrent_alpha, gates, dz, dz, 2 * u);
}

void backward_step(const GruBackward& k, const BackwardMemory& m, Range samples, std::int64_t step) {
  const std::int64_t u = k.units, ldz = step_stride(4 * u), rows = samples.size();
  const Panels before(2 * u, u), state(u, u);
  const auto h_before = [&](std::int64_t row) {
    return step == 0 ? m.zeros : k.h + place(k, samples.begin + row, step - 1) * u;
  };
  const auto gates_of = [&](std::int64_t row) { return k.gates + place(k, samples.begin + row, step) * 4 * u; };
  for (std::int64_t row = 0; row < rows; ++row) {
    add_output_gradient(k, k.dy, samples.begin + row, step, m.dh + row * u);
    output_gradient(k, gates_of(row), h_before(row), m.dh + row * u, m.dz + row * ldz);
  }
  if (!k.reset_after) state.multiply(m.r_candidate, rows, m.dz + 3 * u, ldz, m.inner, u, nullptr, false, m.product);
  for (std::int64_t row = 0; row < rows; ++row) {
    float* dz = m.dz + row * ldz;
    reset_gradient(k, gates_of(row), h_before(row), m.inner + row * u, m.dh + row * u, dz);
    std::copy_n(dz, 4 * u, k.dz + place(k, samples.begin + row, step) * 4 * u);
  }
  if (step == 0) return;
  before.multiply(m.r, rows, m.dz, ldz, m.dh, u, nullptr, true, m.product);
  if (k.reset_after) state.multiply(m.r_candidate, rows, m.dz + 2 * u, ldz, m.dh, u, nullptr, true, m.product);
}

void bias_gradients(const GruBackward& k, const Worker& worker) {
  const std::int64_t u = k.units;
  sum_biases(worker, k, k.dz, 4 * u, 2 * u, k.dbias, k.accumulate);
  sum_biases(worker, k, k.dz + 3 * u, 4 * u, u, k.dbias + 2 * u, k.accumulate);
  if (k.reset_after) sum_biases(worker, k, k.dz, 4 * u, 3 * u, k.dbias + 3 * u, k.accumulate);
}

}  // namespace

Scratch GruForward::scratch(int) const { return ForwardMemory(*this, nullptr, nullptr).need; }

void GruForward::operator()(const Worker& worker) const {
  const ForwardMemory m(*this, worker.shared<void>(), worker.scratch<void>());
  pack_weights(*this, worker, m);
  worker.barrier();
  for_samples(worker, n, [&](Range samples) {
    std::fill_n(m.h, samples.size() * units, 0.f);
    for (std::int64_t step = 0; step < steps; ++step) forward_step(*this, m, samples, step);
  });
}

Scratch GruBackward::scratch(int threads) const {
  Scratch need = BackwardMemory(*this, nullptr, nullptr).need;
  const GruGradients of(*this);
  for (const Gemm& product : {of.dw, of.dw_candidate, of.dx, of.dx_candidate, of.dr, of.dr_candidate})
    need = enough_for(need, product.scratch(threads));
  return need;
}

void GruBackward::operator()(const Worker& worker) const {
  const BackwardMemory m(*this, worker.shared<void>(), worker.scratch<void>());
  const GruGradients of(*this);
  Panels(2 * units, units).pack(worker, r, 3 * units, true, m.r);
  Panels(units, units).pack(worker, r + 2 * units, 3 * units, true, m.r_candidate);
  std::fill_n(m.zeros, units, 0.f);
  worker.barrier();
  for_samples(worker, n, [&](Range samples) {
    std::fill_n(m.dh, samples.size() * units, 0.f);
    for (std::int64_t step = steps - 1; step >= 0; --step) backward_step(*this, m, samples, step);
  });
  worker.barrier();
  if (dw != nullptr) of.dw(worker), of.dw_candidate(worker);
  if (dr != nullptr && !reset_after) of.dr_candidate(worker);
  if (dbias != nullptr) bias_gradients(*this, worker);
  if (dx != nullptr) {
    of.dx(worker);
    of.dx_candidate(worker);
  }
  worker.barrier();
  clear_first_steps(worker, *this, dz, 4 * units, (reset_after ? 3 : 2) * units);
  worker.barrier();
  if (dr != nullptr) of.dr(worker);
}

}  // namespace fnn::cpu
