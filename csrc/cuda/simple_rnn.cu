// SimpleRNN; see recurrent.cuh.
#include "cuda/recurrent.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

struct Cell {
  Step step;
  ChosenActivation activation;
  const float* z;
  float* y;
  float* h;

  __device__ void operator()(int64_t item) const {
    const Place place(step, item);
    place.put_output(y, h, activation.value(place.now(z)));
  }
};

struct CellGradient {
  Step step;
  ChosenActivation activation;
  const float* h;
  const float* dy;
  const float* dh;
  float* dz;

  __device__ void operator()(int64_t item) const {
    const Place place(step, item);
    place.put(dz, activation.gradient(place.now(h), place.output_gradient(dh, dy)));
  }
};

}  // namespace

template <>
void run(const cpu::SimpleRnnForward& k, cudaStream_t stream) {
  const int64_t u = k.units, size = k.n * k.steps * u;
  if (size == 0) return;
  const Workspace z(static_cast<std::size_t>(size) * sizeof(float), stream);
  const Kept h(k.h, size, stream);
  multiply_inputs(k, k.x, k.w, u, u, k.bias, z.as<float>(), u, stream);
  for (int64_t number = 0; number < k.steps; ++number) {
    const Step step(k, number, aligned(k.y, h.data()));
    if (number > 0) multiply_states(k, step, h.data(), k.r, u, u, z.as<float>(), u, true, stream);
    for_each(k.n * step.packs(), stream, Cell{step, {k.activation, k.alpha}, z.as<float>(), k.y, h.data()});
  }
}

template <>
void run(const cpu::SimpleRnnBackward& k, cudaStream_t stream) {
  const int64_t u = k.units;
  const Workspace dh(static_cast<std::size_t>(k.n * u) * sizeof(float), stream);
  for (int64_t number = k.steps - 1; number >= 0 && k.n * u > 0; --number) {
    const Step step(k, number, aligned(k.h, k.dy, k.dz));
    const CellGradient cell = {step, {k.activation, k.alpha}, k.h, k.dy, dh.as<float>(), k.dz};
    for_each(k.n * step.packs(), stream, cell);
    if (number > 0) hand_back(k, step, k.dz, u, k.r, u, u, dh.as<float>(), false, stream);
  }
  weight_gradients(k, u, stream);
}

}  // namespace fnn::cuda
