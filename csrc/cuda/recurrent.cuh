// What recurrent layers on a GPU share. The product of x and w is one for all steps; each step then is a product of the
// output before, added to its rows, and one kernel for all that is elementwise. Going back, a step is that kernel's
// gradient and a product; the gradients of the weights are products over all steps, as on the CPU.
#pragma once
#include <cstdint>

#include "cpu/recurrent_gradients.h"
#include "cuda/for_each.cuh"
#include "cuda/gradient.h"
#include "cuda/workspace.h"

namespace fnn::cuda {

// An activation that is chosen when the kernel runs: the same for all threads.
struct ChosenActivation {
  Activation kind;
  float alpha;

  __device__ float value(float z) const {
    return with_activation(kind, alpha, [z](auto f) { return f.value(z); });
  }
  __device__ float gradient(float saved, float d) const {
    return with_activation(kind, alpha, [saved, d](auto f) { return f.gradient(saved, d); });
  }
  __device__ Pack value(Pack z) const {
#pragma unroll
    for (int i = 0; i < kPack; ++i) z.v[i] = value(z.v[i]);
    return z;
  }
  __device__ Pack gradient(const Pack& saved, Pack d) const {
#pragma unroll
    for (int i = 0; i < kPack; ++i) d.v[i] = gradient(saved.v[i], d.v[i]);
    return d;
  }
};

// A step, and where its pieces lie: packs of up to four units of a sample.
struct Step {
  std::int64_t steps, units, number, time, before;  // before: the step's before in the order of x; -1 if it's the first
  bool sequences, whole;

  Step(const cpu::Recurrence& k, std::int64_t number, bool whole)
      : steps(k.steps),
        units(k.units),
        number(number),
        time(k.time(number)),
        before(number == 0 ? -1 : k.time(number - 1)),
        sequences(k.sequences),
        whole(whole && k.units % kPack == 0) {}

  std::int64_t packs() const { return (units + kPack - 1) / kPack; }
};

struct Place {
  const Step& step;
  std::int64_t sample, column, left;

  __device__ Place(const Step& step, std::int64_t item) : step(step) {
    const std::int64_t packs = (step.units + kPack - 1) / kPack;
    sample = item / packs;
    column = (item - sample * packs) * kPack;
    left = step.units - column;
  }
  // Of an array [n, steps, blocks * units].
  __device__ std::int64_t at(std::int64_t time, int blocks, int block) const {
    return ((sample * step.steps + time) * blocks + block) * step.units + column;
  }
  __device__ Pack load(const float* p, std::int64_t at) const { return load_pack(p + at, left, step.whole); }
  __device__ void store(float* p, std::int64_t at, const Pack& pack) const {
    store_pack(p + at, pack, left, step.whole);
  }
  __device__ Pack now(const float* p, int blocks = 1, int block = 0) const {
    return load(p, at(step.time, blocks, block));
  }
  __device__ void put(float* p, const Pack& pack, int blocks = 1, int block = 0) const {
    store(p, at(step.time, blocks, block), pack);
  }
  // What was there a step before; 0 at first.
  __device__ Pack before(const float* p) const { return step.before < 0 ? Pack{} : load(p, at(step.before, 1, 0)); }
  // Of an array [n, units].
  __device__ std::int64_t own() const { return sample * step.units + column; }
  // Of y and dy; below 0 if they haven't this step.
  __device__ std::int64_t output() const {
    if (step.sequences) return at(step.number, 1, 0);
    return step.number == step.steps - 1 ? own() : -1;
  }
  __device__ void put_output(float* y, float* h, const Pack& pack) const {
    if (h != nullptr) put(h, pack);
    if (y != nullptr && output() >= 0) store(y, output(), pack);
  }
  // dh, of which the part that comes from the step after isn't there in the last one, and dy.
  __device__ Pack output_gradient(const float* dh, const float* dy) const {
    Pack sum = step.number == step.steps - 1 ? Pack{} : load(dh, own());
    if (output() < 0) return sum;
    const Pack more = load(dy, output());
#pragma unroll
    for (int i = 0; i < kPack; ++i) sum.v[i] += more.v[i];
    return sum;
  }
};

// z [n, steps, columns of `ldz`] = x w + bias, some columns of it.
inline void multiply_inputs(const cpu::Recurrence& k, const float* x, const float* w, std::int64_t ldw,
                            std::int64_t columns, const float* bias, float* z, std::int64_t ldz, cudaStream_t stream) {
  run(cpu::Gemm{{},
                k.n * k.steps,
                columns,
                k.features,
                x,
                k.features,
                false,
                w,
                ldw,
                false,
                z,
                ldz,
                false,
                {bias, nullptr, Activation::linear, 0.f}},
      stream);
}

// Rows of a step of z (+)= (the rows of `a` a step before) r, some columns of both.
inline void multiply_states(const cpu::Recurrence& k, const Step& step, const float* h, const float* r,
                            std::int64_t ldr, std::int64_t columns, float* z, std::int64_t ldz, bool accumulate,
                            cudaStream_t stream) {
  run(cpu::Gemm{{},
                k.n,
                columns,
                k.units,
                h + step.before * k.units,
                k.steps * k.units,
                false,
                r,
                ldr,
                false,
                z + step.time * ldz,
                k.steps * ldz,
                accumulate,
                {}},
      stream);
}

// dh [n, units] (+)= (some columns of a step of dz) r^T
inline void hand_back(const cpu::Recurrence& k, const Step& step, const float* dz, std::int64_t ldz, const float* r,
                      std::int64_t ldr, std::int64_t columns, float* dh, bool accumulate, cudaStream_t stream) {
  run(cpu::Gemm{{},
                k.n,
                k.units,
                columns,
                dz + step.time * ldz,
                k.steps * ldz,
                false,
                r,
                ldr,
                true,
                dh,
                k.units,
                accumulate,
                {}},
      stream);
}

// An array of the caller's, or if that is null memory of our own.
class Kept {
 public:
  Kept(float* given, std::int64_t floats, cudaStream_t stream)
      : own_(given == nullptr ? static_cast<std::size_t>(floats) * sizeof(float) : 0, stream),
        data_(given == nullptr ? own_.as<float>() : given) {}
  float* data() const { return data_; }

 private:
  const Workspace own_;
  float* const data_;
};

struct ClearFirstSteps {
  float* dz;
  std::int64_t steps, time, ldz, columns;
  __device__ void operator()(std::int64_t item) const {
    const std::int64_t sample = item / columns;
    dz[(sample * steps + time) * ldz + (item - sample * columns)] = 0.f;
  }
};
inline void clear_first_steps(const cpu::Recurrence& k, float* dz, std::int64_t ldz, std::int64_t columns,
                              cudaStream_t stream) {
  for_each(k.n * columns, stream, ClearFirstSteps{dz, k.steps, k.time(0), ldz, columns});
}

// dw, dbias, dx and dr of a layer whose dz has the columns of its weights.
template <class K>
void weight_gradients(const K& k, std::int64_t columns, cudaStream_t stream) {
  const cpu::StepGradients of{k, columns};
  if (k.dw != nullptr) run(of.input_weights(k.x, k.dz, columns, k.dw, columns, k.accumulate), stream);
  if (k.dbias != nullptr)
    begin_backward(Activation::linear, 0.f, nullptr, k.dz, k.dz, k.dbias, k.n * k.steps, columns, k.accumulate, stream);
  if (k.dx != nullptr) run(of.inputs(k.dz, columns, k.w, columns, k.dx, false), stream);
  clear_first_steps(k, k.dz, columns, columns, stream);
  if (k.dr != nullptr) run(of.recurrent_weights(k.h, k.dz, columns, k.dr, columns, k.accumulate), stream);
}

}  // namespace fnn::cuda
