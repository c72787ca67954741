// One row times a matrix: y = f(x W + b), bound by the reading of W, once.
//
// A product of one row is what a model's forward pass is at batch 1. The tiles of larger products would read W in
// narrower strips, and copy what does not fill a whole vector.
#pragma once
#include "cpu/gemm.h"

namespace fnn::cpu {

// The given columns of a product with m = 1, B as it is and A of any step.
void multiply_row(const Gemm& g, Range columns);

}  // namespace fnn::cpu
