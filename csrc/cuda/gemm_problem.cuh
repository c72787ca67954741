// The product of two matrices that lie in memory, for the kernel in product.cuh.
#pragma once
#include "cuda/gemm_task.h"
#include "cuda/matrix_operand.cuh"
#include "cuda/pack.cuh"
#include "cuda/product.cuh"

namespace fnn::cuda {

template <int width, bool along_a, bool along_b>
struct GemmProblem {
  static constexpr int kWidth = width, kBand = 8;
  using A = MatrixOperand<along_a, std::int64_t>;
  using B = MatrixOperand<along_b, std::int64_t>;
  using Part = ProductPart<A, B, std::int64_t>;

  A a;
  B b;
  ActivatedOutput output;
  std::int64_t depth;
  int part_depth;

  FNN_HD Part part(int number) const {
    const std::int64_t first = std::int64_t{number} * part_depth, left = depth - first;
    Part p = {a, b, a.rows, b.rows, 0, static_cast<int>(left < part_depth ? left : part_depth)};
    p.a.data = a.at_depth(first);
    p.b.data = b.at_depth(first);
    return p;
  }
  FNN_HD ActivatedOutput output_of(int number) const {
    ActivatedOutput of_part = output;
    of_part.c += number * a.rows * output.line;
    return of_part;
  }
};

// Whether A, B and C may be read and written four floats at a time.
inline bool in_fours(const GemmTask& task) {
  const cpu::Gemm& g = task.gemm;
  const std::int64_t along_a = g.a_transposed ? g.m : g.k, along_b = g.b_transposed ? g.k : g.n;
  return (along_a | along_b | g.lda | g.ldb) % kPack == 0 && aligned(g.a, g.b) && task.output_in_fours();
}

template <int kWidth, bool kAlongA, bool kAlongB>
GemmProblem<kWidth, kAlongA, kAlongB> problem_of(const GemmTask& task) {
  const cpu::Gemm& g = task.gemm;
  return {{g.a, g.lda, g.m}, {g.b, g.ldb, g.n}, task.output(), g.k, static_cast<int>(task.depth)};
}

// Calls launch(problem, its size).
template <class Launch>
void with_problem(const GemmTask& task, const Launch& launch) {
  const ProductSize size = {task.parts, task.gemm.m, task.gemm.n};
  const bool along_a = !task.gemm.a_transposed, along_b = task.gemm.b_transposed;
  const auto by_width = [&](auto width) {
    if (along_a && along_b) return launch(problem_of<width, true, true>(task), size);
    if (along_a) return launch(problem_of<width, true, false>(task), size);
    if (along_b) return launch(problem_of<width, false, true>(task), size);
    launch(problem_of<width, false, false>(task), size);
  };
  if (in_fours(task)) return by_width(std::integral_constant<int, 4>());
  by_width(std::integral_constant<int, 1>());
}

}  // namespace fnn::cuda
