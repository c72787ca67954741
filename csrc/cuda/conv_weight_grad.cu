// The weight gradient sums over all output pixels. Where dw has few tiles these are split, and the parts of dw that
// come of it, in a workspace, are added up in order: the same bits in every run, and on every GPU.
#include "cpu/conv.h"
#include "cuda/conv_problems.cuh"
#include "cuda/conv_product.h"
#include "cuda/conv_sizes.cuh"
#include "cuda/product_size.h"
#include "cuda/sum_parts.h"
#include "cuda/workspace.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

constexpr int64_t kBlocks = 264;                   // two for each multiprocessor of a large GPU
constexpr int64_t kLeastPixels = 256;              // of a split: with fewer, adding up costs more than is won
constexpr int64_t kMostFloats = int64_t{1} << 26;  // of the workspace

int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t pixels_of_split(const cpu::ConvShape& s) {
  const int64_t all = s.n * s.pixels(), size = std::max<int64_t>(1, s.depth() * s.f);
  const int64_t tiles = std::max<int64_t>(1, s.groups * quotient_up(s.depth(), 128) * quotient_up(s.group_f(), 64));
  const int64_t wanted = std::min({quotient_up(kBlocks, tiles), all / kLeastPixels, kMostFloats / size});
  const int64_t least = quotient_up(s.n, std::max<int64_t>(1, images_per_launch(s) - 2));
  const int64_t splits = std::max({wanted, least, int64_t{1}});
  return std::max<int64_t>(kLargestTileDepth,
                           quotient_up(quotient_up(all, splits), kLargestTileDepth) * kLargestTileDepth);
}

template <int kWidth>
void weight_gradient(const cpu::ConvWeightGradient& k, float* dw, bool accumulate, int64_t pixels, int64_t splits,
                     cudaStream_t stream) {
  const cpu::ConvShape& s = k.shape;
  const MatrixOperand<false, int> gradient = {k.dz, narrow(s.f), narrow(s.group_f())};
  const ConvWeightProblem<kWidth> problem = {windows_of<false>(s, k.x, 0),
                                             gradient,
                                             {dw, narrow(s.f), accumulate},
                                             narrow(s.group_c()),
                                             narrow(s.group_f()),
                                             narrow(s.groups),
                                             narrow(pixels),
                                             s.n * s.pixels()};
  narrow((s.pixels() + pixels) * std::max<int64_t>(1, s.f));
  narrow(s.depth() * s.f);
  multiply(problem, {narrow(splits * s.groups), narrow(s.depth()), problem.group_f}, stream);
}

}  // namespace

template <>
void run(const cpu::ConvWeightGradient& kernel, cudaStream_t stream) {
  const cpu::ConvShape& s = kernel.shape;
  const int64_t pixels = pixels_of_split(s), splits = std::max<int64_t>(1, quotient_up(s.n * s.pixels(), pixels));
  const int64_t size = s.depth() * s.f;
  const bool apart = splits > 1;
  const Workspace parts(apart ? static_cast<std::size_t>(splits * size) * sizeof(float) : 0, stream);
  float* to = apart ? parts.as<float>() : kernel.dw;
  const bool accumulate = kernel.accumulate && !apart;
  if (in_fours(s, kernel.x, kernel.dz, to))
    weight_gradient<4>(kernel, to, accumulate, pixels, splits, stream);
  else
    weight_gradient<1>(kernel, to, accumulate, pixels, splits, stream);
  if (apart) sum_parts(to, splits, size, kernel.dw, kernel.accumulate, stream);
}

}  // namespace fnn::cuda
