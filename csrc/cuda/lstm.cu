// LSTM; see recurrent.cuh.
#include "cuda/recurrent.cuh"
#include "math/recurrent.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

struct Cell {
  Step step;
  ChosenActivation activation, recurrent;
  float* gates;
  float* c;
  float* y;
  float* h;

  __device__ void operator()(int64_t item) const {
    const Place place(step, item);
    const Pack i = recurrent.value(place.now(gates, 4, 0)), f = recurrent.value(place.now(gates, 4, 1));
    const Pack g = activation.value(place.now(gates, 4, 2)), o = recurrent.value(place.now(gates, 4, 3));
    Pack state = place.before(c), output;
#pragma unroll
    for (int n = 0; n < kPack; ++n) {
      state.v[n] = lstm_state(i.v[n], f.v[n], g.v[n], state.v[n]);
      output.v[n] = o.v[n] * activation.value(state.v[n]);
    }
    place.put(gates, i, 4, 0);
    place.put(gates, f, 4, 1);
    place.put(gates, g, 4, 2);
    place.put(gates, o, 4, 3);
    place.put(c, state);
    place.put_output(y, h, output);
  }
};

struct CellGradient {
  Step step;
  ChosenActivation activation, recurrent;
  const float* gates;
  const float* c;
  const float* dy;
  const float* dh;
  float* dc;
  float* dz;

  __device__ void operator()(int64_t item) const {
    const Place place(step, item);
    const Pack i = place.now(gates, 4, 0), f = place.now(gates, 4, 1), g = place.now(gates, 4, 2);
    const Pack o = place.now(gates, 4, 3), before = place.before(c), bent = activation.value(place.now(c));
    const Pack d = place.output_gradient(dh, dy);
    Pack state = step.number == step.steps - 1 ? Pack{} : place.load(dc, place.own()), di, df, dg, d_o;
#pragma unroll
    for (int n = 0; n < kPack; ++n) {
      const float all = state.v[n] + activation.gradient(bent.v[n], d.v[n] * o.v[n]);
      const LstmGradient<float> to = lstm_gradient(i.v[n], f.v[n], g.v[n], before.v[n], bent.v[n], d.v[n], all);
      di.v[n] = recurrent.gradient(i.v[n], to.i);
      df.v[n] = recurrent.gradient(f.v[n], to.f);
      dg.v[n] = activation.gradient(g.v[n], to.g);
      d_o.v[n] = recurrent.gradient(o.v[n], to.o);
      state.v[n] = to.before;
    }
    place.put(dz, di, 4, 0);
    place.put(dz, df, 4, 1);
    place.put(dz, dg, 4, 2);
    place.put(dz, d_o, 4, 3);
    place.store(dc, place.own(), state);
  }
};

}  // namespace

template <>
void run(const cpu::LstmForward& k, cudaStream_t stream) {
  const int64_t u = k.units, size = k.n * k.steps * u;
  if (size == 0) return;
  const Kept gates(k.gates, 4 * size, stream), c(k.c, size, stream), h(k.h, size, stream);
  multiply_inputs(k, k.x, k.w, 4 * u, 4 * u, k.bias, gates.data(), 4 * u, stream);
  for (int64_t number = 0; number < k.steps; ++number) {
    const Step step(k, number, aligned(k.y, gates.data(), c.data(), h.data()));
    if (number > 0) multiply_states(k, step, h.data(), k.r, 4 * u, 4 * u, gates.data(), 4 * u, true, stream);
    const Cell cell = {
        step,    {k.activation, k.alpha}, {k.recurrent_activation, k.recurrent_alpha}, gates.data(), c.data(), k.y,
        h.data()};
    for_each(k.n * step.packs(), stream, cell);
  }
}

template <>
void run(const cpu::LstmBackward& k, cudaStream_t stream) {
  const int64_t u = k.units;
  const Workspace dh(static_cast<std::size_t>(k.n * u) * sizeof(float), stream);
  const Workspace dc(static_cast<std::size_t>(k.n * u) * sizeof(float), stream);
  for (int64_t number = k.steps - 1; number >= 0 && k.n * u > 0; --number) {
    const Step step(k, number, aligned(k.gates, k.c, k.dy, k.dz));
    const CellGradient cell = {step,
                               {k.activation, k.alpha},
                               {k.recurrent_activation, k.recurrent_alpha},
                               k.gates,
                               k.c,
                               k.dy,
                               dh.as<float>(),
                               dc.as<float>(),
                               k.dz};
    for_each(k.n * step.packs(), stream, cell);
    if (number > 0) hand_back(k, step, k.dz, 4 * u, k.r, 4 * u, 4 * u, dh.as<float>(), false, stream);
  }
  weight_gradients(k, 4 * u, stream);
}

}  // namespace fnn::cuda
