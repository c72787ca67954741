// The cells of recurrent layers after their gates are activated, and their gradients; templates over T (float on host
// and device, a vector in the CPU's loops).
//
// LSTM: S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory" (Neural Computation 9, 1997), with the forget gate
// of F. Gers, J. Schmidhuber and F. Cummins (2000). GRU: K. Cho et al., 2014, arXiv:1406.1078.
#pragma once
#include "base/macros.h"

namespace fnn {

// c = f c' + i g: c' is the state before, i, f and o the input, forget and output gate, g the candidate; h = o a(c).
template <class T>
FNN_HD FNN_INLINE T lstm_state(T i, T f, T g, T before) {
  return f * before + i * g;
}

template <class T>
struct LstmGradient {
  T i, f, g, o, before;
};
// From the gradients with respect to h and to c (all of it, that through h included); bent is a(c).
template <class T>
FNN_HD FNN_INLINE LstmGradient<T> lstm_gradient(T i, T f, T g, T before, T bent, T dh, T dc) {
  return {dc * g, dc * before, dc * i, dh * bent, dc * f};
}

// h = z h' + (1 - z) g: h' is the output before, z the update gate, g the candidate.
template <class T>
FNN_HD FNN_INLINE T gru_output(T z, T before, T candidate) {
  return z * before + (T(1.f) - z) * candidate;
}

template <class T>
struct GruGradient {
  T z, candidate, before;
};
template <class T>
FNN_HD FNN_INLINE GruGradient<T> gru_gradient(T z, T before, T candidate, T dh) {
  return {dh * (before - candidate), dh * (T(1.f) - z), dh * z};
}

}  // namespace fnn
