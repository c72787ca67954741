// C = f(op(A) op(B) + bias): single-precision matrix product with a fused epilogue.
//
// Each thread multiplies its own block of C with packing buffers of its own, so there is no barrier inside. Blocking
// after K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (ACM TOMS 34, 2008); small
// matrices are multiplied where they lie, without packing.
#pragma once
#include <cstdint>

#include "base/kernel.h"
#include "cpu/epilogue.h"

namespace fnn::cpu {

struct Gemm : Kernel {
  std::int64_t m, n, k;
  const float* a;  // [m, k], or [k, m] when a_transposed; row-major, rows lda apart
  std::int64_t lda;
  Flag a_transposed;
  const float* b;  // [k, n], or [n, k] when b_transposed
  std::int64_t ldb;
  Flag b_transposed;
  float* c;  // [m, n]
  std::int64_t ldc;
  Flag accumulate;    // C += product; then the activation is linear
  Epilogue epilogue;  // z, when given, is laid out as C
  // Products that are summed up before they are added to C; 0: as many as suit the caches. Parts of a matrix product
  // give the bits of the whole if they are given its depth().
  std::int64_t depth_limit = 0;

  std::int64_t work() const { return m * n * (k + 8) / 5; }
  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;

  // These rows and columns of C, by one thread with a worker's scratch.
  void multiply(Range rows, Range columns, float* scratch) const;
  // The same in tiles even if C has one row alone, as it may as a part of a larger one.
  void multiply_tiles(Range rows, Range columns, float* scratch) const;
  std::int64_t depth() const;
};

}  // namespace fnn::cpu
