#include "cpu/conv.h"
#include "cuda/conv_problems.cuh"
#include "cuda/conv_product.h"
#include "cuda/conv_sizes.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

template <int kWidth>
void input_gradient(const cpu::ConvInputGradient& k, int64_t first, int64_t images, cudaStream_t stream) {
  const cpu::ConvShape& s = k.shape;
  narrow(s.kh * s.dh + s.sh);
  narrow(s.kw * s.dw + s.sw);
  const PhaseAxis y = {narrow(s.h), narrow(s.kh), narrow(s.sh), narrow(s.dh), narrow(s.top)};
  const PhaseAxis x = {narrow(s.w), narrow(s.kw), narrow(s.sw), narrow(s.dw), narrow(s.left)};
  const ConvInputProblem<kWidth> problem = {k.dz + first * s.pixels() * s.f,
                                            k.w,
                                            k.dx + first * s.h * s.w * s.c,
                                            y,
                                            x,
                                            divisor(s.group_f()),
                                            narrow(images),
                                            narrow(s.groups),
                                            narrow(s.oh),
                                            narrow(s.ow),
                                            narrow(s.c),
                                            narrow(s.f),
                                            narrow(s.group_c())};
  narrow(s.depth() * s.f);
  narrow((s.oh + s.kh * s.dh + 1) * s.ow * s.f);  // where taps beside the output would be
  multiply(problem, {narrow(s.sh * s.sw * s.groups), problem.largest_part(), problem.group_c}, stream);
}

}  // namespace

template <>
void run(const cpu::ConvInputGradient& kernel, cudaStream_t stream) {
  const cpu::ConvShape& s = kernel.shape;
  const bool fours = in_fours(s, kernel.w, kernel.dz, kernel.dx);
  const int64_t step = images_per_launch(s);
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    fours ? input_gradient<4>(kernel, first, images, stream) : input_gradient<1>(kernel, first, images, stream);
  }
}

}  // namespace fnn::cuda
