// What happens to a product after its sum. Apart from the loops that use it, so that a record of a matrix product or a
// convolution can be read without the CPU's vectors.
#pragma once
#include "math/activations.h"

namespace fnn::cpu {

// y = f(sum + bias), the pre-activation kept in z when that is wanted.
struct Epilogue {
  const float* bias = nullptr;  // one value a column, or null
  float* z = nullptr;           // same layout as C, or null
  Activation activation = Activation::linear;
  float alpha = 0.f;
};

}  // namespace fnn::cpu
