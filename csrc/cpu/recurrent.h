// Recurrent layers: SimpleRNN, LSTM and GRU over x [n, steps, features], and back-propagation through time.
//
// With h[0] = 0 and, for LSTM, c[0] = 0, in each step (a: activation, s: recurrent activation):
//   SimpleRNN  h = a(x w + h' r + bias)
//   LSTM       i, f, g, o = s, s, a, s of x w + h' r + bias     c = f c' + i g     h = o a(c)
//   GRU        z, s' = s of x w + h' r + bias     g = a(x w + s' (h' r + bias2)), or a(x w + (s' h') r) without
//              reset_after     h = z h' + (1 - z) g
// Activations are of the kinds whose derivative is computed from their result. `reversed` goes from the last step to
// the first; h, c, gates and dz lie in the order of x all the same, y and dy in the order of the steps taken.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "math/activations.h"

namespace fnn::cpu {

// What all of them share.
struct Recurrence : Kernel {
  std::int64_t n, steps, features, units;
  Activation activation, recurrent_activation;
  float alpha, recurrent_alpha;
  Flag reversed;
  Flag sequences;  // y and dy are [n, steps, units]; else the last step's alone, [n, units]

  std::int64_t time(std::int64_t step) const { return reversed ? steps - 1 - step : step; }
  // The rows of a product's results with `columns` columns cost this much.
  std::int64_t product_work(std::int64_t columns) const { return n * steps * columns * (features + units + 32) / 5; }
};

// y and h [n, steps, units] may each be null, the other is written then; gates [n, steps, 4 units] and c [n, steps,
// units] are kept for the backward pass unless they are null. bias may be null.
struct SimpleRnnForward : Recurrence {
  const float* x;
  const float* w;     // [features, units]
  const float* r;     // [units, units]
  const float* bias;  // [units]
  float* y;
  float* h;

  std::int64_t work() const { return product_work(units); }
  Scratch scratch(int threads) const;
  Partition after() const { return {Partition::rows, n}; }
  void operator()(const Worker& worker) const;
};

struct LstmForward : Recurrence {
  const float* x;
  const float* w;     // [features, 4 units]: i, f, g, o
  const float* r;     // [units, 4 units]
  const float* bias;  // [4 units]
  float* y;
  float* h;
  float* c;
  float* gates;  // i, f, g, o

  std::int64_t work() const { return product_work(4 * units); }
  Scratch scratch(int threads) const;
  Partition after() const { return {Partition::rows, n}; }
  void operator()(const Worker& worker) const;
};

struct GruForward : Recurrence {
  const float* x;
  const float* w;     // [features, 3 units]: z, s', g
  const float* r;     // [units, 3 units]
  const float* bias;  // [2, 3 units] with reset_after (the second row goes with h'), else [3 units]
  float* y;
  float* h;
  float* gates;  // z, s', h' r + bias2 (or s' h'), g
  Flag reset_after;

  std::int64_t work() const { return product_work(3 * units); }
  Scratch scratch(int threads) const;
  Partition after() const { return {Partition::rows, n}; }
  void operator()(const Worker& worker) const;
};

// dz becomes the gradient with respect to what the activations were applied to, then
//   dw (+)= x^T dz     dr (+)= h'^T dz     dbias (+)= sums of dz     dx = dz w^T
// and in the end dz is set to 0 where h' was. Any of dw, dr, dbias, dx may be null.
struct SimpleRnnBackward : Recurrence {
  const float* x;
  const float* w;
  const float* r;
  const float* h;
  const float* dy;
  float* dz;  // [n, steps, units]
  float* dw;
  float* dr;
  float* dbias;
  float* dx;
  Flag accumulate;

  std::int64_t work() const { return 2 * product_work(units); }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

struct LstmBackward : Recurrence {
  const float* x;
  const float* w;
  const float* r;
  const float* h;
  const float* c;
  const float* gates;
  const float* dy;
  float* dz;  // [n, steps, 4 units]
  float* dw;
  float* dr;
  float* dbias;
  float* dx;
  Flag accumulate;

  std::int64_t work() const { return 2 * product_work(4 * units); }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

struct GruBackward : Recurrence {
  const float* x;
  const float* w;
  const float* r;
  const float* h;
  const float* gates;
  const float* dy;
  float* dz;  // [n, steps, 4 units]: of z, s', what the second row of bias is added to (without reset_after: s' h'), g
  float* dw;
  float* dr;
  float* dbias;
  float* dx;
  Flag accumulate;
  Flag reset_after;

  std::int64_t work() const { return 2 * product_work(3 * units); }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;
};

}  // namespace fnn::cpu
