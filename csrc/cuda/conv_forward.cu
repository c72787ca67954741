#include "cpu/conv.h"
#include "cuda/conv_problems.cuh"
#include "cuda/conv_product.h"
#include "cuda/conv_sizes.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

template <int kWidth>
void forward(const cpu::ConvForward& k, int64_t first, int64_t images, cudaStream_t stream) {
  const cpu::ConvShape& s = k.shape;
  const cpu::Epilogue& e = k.epilogue;
  const int64_t at = first * s.pixels() * s.f;
  const MatrixOperand<false, int> weights = {k.w, narrow(s.f), narrow(s.group_f())};
  narrow(s.depth() * s.f);
  float* z = e.z == nullptr ? nullptr : e.z + at;
  const ConvForwardProblem<kWidth> problem = {windows_of<true>(s, k.x + first * s.h * s.w * s.c, images),
                                              weights,
                                              {k.y + at, z, e.bias, s.f, e.activation, e.alpha, false},
                                              narrow(s.group_c()),
                                              narrow(s.group_f())};
  multiply(problem, {narrow(s.groups), problem.windows.origins.count, problem.group_f}, stream);
}

}  // namespace

template <>
void run(const cpu::ConvForward& kernel, cudaStream_t stream) {
  const cpu::ConvShape& s = kernel.shape;
  const bool fours = in_fours(s, kernel.x, kernel.w, kernel.y, kernel.epilogue.z);
  const int64_t step = images_per_launch(s);
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    fours ? forward<4>(kernel, first, images, stream) : forward<1>(kernel, first, images, stream);
  }
}

}  // namespace fnn::cuda
