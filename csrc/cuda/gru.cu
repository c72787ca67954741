// GRU; see recurrent.cuh. With reset_after a step has one kernel, else two, with the candidate's product in between.
#include "cuda/recurrent.cuh"
#include "math/recurrent.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

struct Cell {
  Step step;
  ChosenActivation activation, recurrent;
  const float* bias;  // what is added to h' r, [3 units], or null
  float* gates;
  float* y;
  float* h;
  bool reset_after, begins, ends;  // what this kernel does

  __device__ Pack biased(const Place& place, Pack sum, int block) const {
    if (bias == nullptr) return sum;
    const Pack more = load_pack(bias + block * step.units + place.column, place.left, false);
#pragma unroll
    for (int n = 0; n < kPack; ++n) sum.v[n] += more.v[n];
    return sum;
  }

  __device__ void begin(const Place& place) const {
    const Pack z = recurrent.value(biased(place, place.now(gates, 4, 0), 0));
    const Pack reset = recurrent.value(biased(place, place.now(gates, 4, 1), 1));
    place.put(gates, z, 4, 0);
    place.put(gates, reset, 4, 1);
    Pack inner;
    if (reset_after) {
      inner = biased(place, step.before < 0 ? Pack{} : place.now(gates, 4, 2), 2);
      Pack candidate = place.now(gates, 4, 3);
#pragma unroll
      for (int n = 0; n < kPack; ++n) candidate.v[n] += reset.v[n] * inner.v[n];
      place.put(gates, candidate, 4, 3);
    } else {
      inner = place.before(h);
#pragma unroll
      for (int n = 0; n < kPack; ++n) inner.v[n] *= reset.v[n];
    }
    place.put(gates, inner, 4, 2);
  }

  __device__ void end(const Place& place) const {
    const Pack z = place.now(gates, 4, 0), candidate = activation.value(place.now(gates, 4, 3));
    Pack output = place.before(h);
#pragma unroll
    for (int n = 0; n < kPack; ++n) output.v[n] = gru_output(z.v[n], output.v[n], candidate.v[n]);
    place.put(gates, candidate, 4, 3);
    place.put_output(y, h, output);
  }

  __device__ void operator()(int64_t item) const {
    const Place place(step, item);
    if (begins) begin(place);
    if (ends) end(place);
  }
};

struct CellGradient {
  Step step;
  ChosenActivation activation, recurrent;
  const float* gates;
  const float* h;
  const float* dy;
  const float* d_inner;  // without reset_after: what the candidate's product hands back
  float* dh;
  float* dz;
  bool reset_after, begins, ends;

  // dz of update gate and candidate; dh becomes its part that goes to h' directly.
  __device__ void begin(const Place& place) const {
    const Pack z = place.now(gates, 4, 0), candidate = place.now(gates, 4, 3), before = place.before(h);
    Pack d = place.output_gradient(dh, dy), dz_update, dz_candidate;
#pragma unroll
    for (int n = 0; n < kPack; ++n) {
      const GruGradient<float> to = gru_gradient(z.v[n], before.v[n], candidate.v[n], d.v[n]);
      dz_update.v[n] = recurrent.gradient(z.v[n], to.z);
      dz_candidate.v[n] = activation.gradient(candidate.v[n], to.candidate);
      d.v[n] = to.before;
    }
    place.put(dz, dz_update, 4, 0);
    place.put(dz, dz_candidate, 4, 3);
    place.store(dh, place.own(), d);
  }

  __device__ void end(const Place& place) const {
    const Pack reset = place.now(gates, 4, 1);
    Pack d, d_reset;
    if (reset_after) {
      const Pack inner = place.now(gates, 4, 2), dz_candidate = place.now(dz, 4, 3);
#pragma unroll
      for (int n = 0; n < kPack; ++n) {
        d.v[n] = dz_candidate.v[n] * reset.v[n];
        d_reset.v[n] = dz_candidate.v[n] * inner.v[n];
      }
    } else {
      const Pack before = place.before(h);
      Pack direct = place.load(dh, place.own());
      d = place.load(d_inner, place.own());
#pragma unroll
      for (int n = 0; n < kPack; ++n) {
        direct.v[n] += d.v[n] * reset.v[n];
        d_reset.v[n] = d.v[n] * before.v[n];
      }
      place.store(dh, place.own(), direct);
    }
    place.put(dz, recurrent.gradient(reset, d_reset), 4, 1);
    place.put(dz, d, 4, 2);
  }

  __device__ void operator()(int64_t item) const {
    const Place place(step, item);
    if (begins) begin(place);
    if (ends) end(place);
  }
};

// dbias of the sums [4 units] of dz: for x the blocks 0, 1, 3 and, with reset_after, for h' 0, 1, 2.
struct AddBiases {
  const float* sums;
  float* dbias;
  int64_t units;
  bool accumulate;

  __device__ void operator()(int64_t j) const {
    const int64_t from = j < 2 * units || j >= 3 * units ? j % (3 * units) : j + units;
    dbias[j] = (accumulate ? dbias[j] : 0.f) + sums[from];
  }
};

void bias_gradients(const cpu::GruBackward& k, cudaStream_t stream) {
  const int64_t u = k.units;
  const Workspace sums(static_cast<std::size_t>(4 * u) * sizeof(float), stream);
  begin_backward(Activation::linear, 0.f, nullptr, k.dz, k.dz, sums.as<float>(), k.n * k.steps, 4 * u, false, stream);
  for_each((k.reset_after ? 6 : 3) * u, stream, AddBiases{sums.as<float>(), k.dbias, u, k.accumulate});
}

}  // namespace

template <>
void run(const cpu::GruForward& k, cudaStream_t stream) {
  const int64_t u = k.units, size = k.n * k.steps * u;
  if (size == 0) return;
  const Kept gates(k.gates, 4 * size, stream), h(k.h, size, stream);
  float* const z = gates.data();
  const float* after = k.bias == nullptr ? nullptr : k.bias + 2 * u;
  multiply_inputs(k, k.x, k.w, 3 * u, 2 * u, k.bias, z, 4 * u, stream);
  multiply_inputs(k, k.x, k.w + 2 * u, 3 * u, u, after, z + 3 * u, 4 * u, stream);
  for (int64_t number = 0; number < k.steps; ++number) {
    const Step step(k, number, aligned(k.y, z, h.data()));
    if (number > 0) multiply_states(k, step, h.data(), k.r, 3 * u, 2 * u, z, 4 * u, true, stream);
    if (number > 0 && k.reset_after)
      multiply_states(k, step, h.data(), k.r + 2 * u, 3 * u, u, z + 2 * u, 4 * u, false, stream);
    Cell cell = {step,
                 {k.activation, k.alpha},
                 {k.recurrent_activation, k.recurrent_alpha},
                 k.bias == nullptr || !k.reset_after ? nullptr : k.bias + 3 * u,
                 z,
                 k.y,
                 h.data(),
                 k.reset_after,
                 true,
                 k.reset_after};
    for_each(k.n * step.packs(), stream, cell);
    if (k.reset_after) continue;
    if (number > 0)
      run(cpu::Gemm{{},
                    k.n,
                    u,
                    u,
                    z + step.time * 4 * u + 2 * u,
                    k.steps * 4 * u,
                    false,
                    k.r + 2 * u,
                    3 * u,
                    false,
                    z + step.time * 4 * u + 3 * u,
                    k.steps * 4 * u,
                    true,
                    {}},
          stream);
    cell.begins = false;
    cell.ends = true;
    for_each(k.n * step.packs(), stream, cell);
  }
}

template <>
void run(const cpu::GruBackward& k, cudaStream_t stream) {
  const int64_t u = k.units;
  const Workspace dh(static_cast<std::size_t>(k.n * u) * sizeof(float), stream);
  const Workspace d_inner(k.reset_after ? 0 : static_cast<std::size_t>(k.n * u) * sizeof(float), stream);
  for (int64_t number = k.steps - 1; number >= 0 && k.n * u > 0; --number) {
    const Step step(k, number, aligned(k.gates, k.h, k.dy, k.dz));
    CellGradient cell = {step,
                         {k.activation, k.alpha},
                         {k.recurrent_activation, k.recurrent_alpha},
                         k.gates,
                         k.h,
                         k.dy,
                         d_inner.as<float>(),
                         dh.as<float>(),
                         k.dz,
                         k.reset_after,
                         true,
                         k.reset_after};
    for_each(k.n * step.packs(), stream, cell);
    if (!k.reset_after) {
      hand_back(k, step, k.dz + 3 * u, 4 * u, k.r + 2 * u, 3 * u, u, d_inner.as<float>(), false, stream);
      cell.begins = false;
      cell.ends = true;
      for_each(k.n * step.packs(), stream, cell);
    }
    if (number > 0)
      hand_back(k, step, k.dz, 4 * u, k.r, 3 * u, (k.reset_after ? 3 : 2) * u, dh.as<float>(), true, stream);
  }
  const cpu::GruGradients of(k);
  if (k.dw != nullptr) {
    run(of.dw, stream);
    run(of.dw_candidate, stream);
  }
  if (k.dr != nullptr && !k.reset_after) run(of.dr_candidate, stream);
  if (k.dbias != nullptr) bias_gradients(k, stream);
  if (k.dx != nullptr) {
    run(of.dx, stream);
    run(of.dx_candidate, stream);
  }
  clear_first_steps(k, k.dz, 4 * u, (k.reset_after ? 3 : 2) * u, stream);
  if (k.dr != nullptr) run(of.dr, stream);
}

}  // namespace fnn::cuda
