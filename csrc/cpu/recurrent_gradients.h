// The products that the gradients of recurrent layers' weights and inputs are: of all samples and steps at once, and
// therefore the same on CPU and GPU. dz may be some columns of a larger matrix, as may the weights.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/gemm.h"
#include "cpu/recurrent.h"

namespace fnn::cpu {

// Where a step of a sample lies in h, c, gates and dz.
inline std::int64_t place(const Recurrence& k, std::int64_t sample, std::int64_t step) {
  return sample * k.steps + k.time(step);
}

// A part of the columns of a matrix that may be null.
inline float* columns_from(float* begin, std::int64_t column) { return begin == nullptr ? nullptr : begin + column; }

struct StepGradients {
  const Recurrence& k;
  std::int64_t ldz;  // columns of dz

  Gemm input_weights(const float* x, const float* dz, std::int64_t columns, float* dw, std::int64_t ldw,
                     bool accumulate) const {
    return {{}, k.features, columns, k.n * k.steps, x, k.features, true, dz, ldz, false, dw, ldw, accumulate, {}};
  }

  // The other factor is the output before: that of dz's row i is h's row i - 1, or i + 1 where time runs backwards. At
  // the samples' borders, where it belongs to another sample, dz must be 0: in each sample's first step.
  Gemm recurrent_weights(const float* h, const float* dz, std::int64_t columns, float* dr, std::int64_t ldr,
                         bool accumulate) const {
    const std::int64_t pairs = std::max<std::int64_t>(k.n * k.steps - 1, 0);
    const float* before = k.reversed && pairs > 0 ? h + k.units : h;
    const float* after = k.reversed || pairs == 0 ? dz : dz + ldz;
    return {{}, k.units, columns, pairs, before, k.units, true, after, ldz, false, dr, ldr, accumulate, {}};
  }

  Gemm inputs(const float* dz, std::int64_t columns, const float* w, std::int64_t ldw, float* dx,
              bool accumulate) const {
    return {{}, k.n * k.steps, k.features, columns, dz, ldz, false, w, ldw, true, dx, k.features, accumulate, {}};
  }
};

// Of a GRU: the first two blocks and the candidate's apart.
struct GruGradients {
  Gemm dw, dw_candidate, dx, dx_candidate, dr, dr_candidate;

  explicit GruGradients(const GruBackward& k)
      : GruGradients(k, StepGradients{k, 4 * k.units}, k.units, k.dz, k.accumulate) {}
  GruGradients(const GruBackward& k, const StepGradients& of, std::int64_t u, const float* dz, bool adds)
      : dw(of.input_weights(k.x, dz, 2 * u, k.dw, 3 * u, adds)),
        dw_candidate(of.input_weights(k.x, dz + 3 * u, u, columns_from(k.dw, 2 * u), 3 * u, adds)),
        dx(of.inputs(dz, 2 * u, k.w, 3 * u, k.dx, false)),
        dx_candidate(of.inputs(dz + 3 * u, u, k.w + 2 * u, 3 * u, k.dx, true)),
        dr(of.recurrent_weights(k.h, dz, k.reset_after ? 3 * u : 2 * u, k.dr, 3 * u, adds)),
        dr_candidate{{},   u,          u,     k.n * k.steps, k.gates + 2 * u,           4 * u,
                     true, dz + 3 * u, 4 * u, false,         columns_from(k.dr, 2 * u), 3 * u,
                     adds, {}} {}
};

}  // namespace fnn::cpu
