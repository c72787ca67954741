// Gradients of depthwise convolution. dx: of stride 1 a forward pass with the windows turned, else what each pixel of x
// gets from the outputs that saw it. dw: blocks sum over a share of the pixels each, some taps at a time, and the
// shares are added up in order.
#include <algorithm>

#include "cpu/depthwise.h"
#include "cuda/conv_sizes.cuh"
#include "cuda/depthwise.cuh"
#include "cuda/depthwise_window.h"
#include "cuda/for_each.cuh"
#include "cuda/gradient.h"
#include "cuda/sum_parts.h"
#include "cuda/workspace.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

// ---- dx
struct Scatter {
  const float* dz;
  const float* w;
  float* dx;
  DepthwiseAxis rows, columns;  // of the forward pass
  int64_t c, f;

  // The output that sees pixel `at` by this tap, or -1.
  static __device__ int output(const DepthwiseAxis& axis, int at, int tap) {
    const int from = at - axis.first - tap * axis.step;
    const int i = from / axis.stride;
    return from >= 0 && i * axis.stride == from && i < axis.outputs ? i : -1;
  }

  __device__ void operator()(int64_t item) const {
    const int64_t pixel = item / c, line = pixel / columns.size, n = line / rows.size;
    const int channel = static_cast<int>(item - pixel * c), x = static_cast<int>(pixel - line * columns.size);
    const int y = static_cast<int>(line - n * rows.size), filters = static_cast<int>(f / c);
    float sum = 0.f;
    for (int r = 0; r < rows.taps; ++r) {
      const int i = output(rows, y, r);
      if (i < 0) continue;
      for (int s = 0; s < columns.taps; ++s) {
        const int j = output(columns, x, s);
        if (j < 0) continue;
        const float* grad = dz + ((n * rows.outputs + i) * columns.outputs + j) * f + int64_t{channel} * filters;
        const float* weight = w + (r * columns.taps + s) * f + int64_t{channel} * filters;
        for (int m = 0; m < filters; ++m) sum = fmaf(grad[m], weight[m], sum);
      }
    }
    dx[item] = sum;
  }
};

// ---- dw
constexpr int kTaps = 9;  // sums of a thread

struct WeightTask {
  const float* x;
  const float* dz;
  float* parts;
  DepthwiseAxis rows, columns;
  FastDivisor per_image, per_row, filters, taps_per_row;
  int64_t c, f, pixels, pixels_of_block;
  int taps;
};

// Adds what one output pixel gives to the taps from `first` on.
template <int kWidth>
__device__ void add_pixel(const WeightTask& t, int pixel, int channel, int first,
                          Channels<float, kWidth> (&sums)[kTaps], const float* images, const float* gradients) {
  const int n = t.per_image.quotient(pixel), rest = pixel - n * t.per_image.divisor(), i = t.per_row.quotient(rest);
  const int y = i * t.rows.stride + t.rows.first;
  const int x = (rest - i * t.per_row.divisor()) * t.columns.stride + t.columns.first;
  const auto gradient = load_channels<kWidth>(gradients + pixel * t.f + channel);
  const int64_t row = t.columns.size * t.c;
  const float* image = images + n * t.rows.size * row + t.filters.quotient(channel);
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    const int tap = first + k, r = t.taps_per_row.quotient(tap);
    const int at_y = y + r * t.rows.step, at_x = x + (tap - r * t.taps_per_row.divisor()) * t.columns.step;
    if (tap < t.taps && static_cast<unsigned>(at_y) < static_cast<unsigned>(t.rows.size) &&
        static_cast<unsigned>(at_x) < static_cast<unsigned>(t.columns.size))
      add_product(sums[k], gradient, load_channels<kWidth>(image + at_y * row + at_x * t.c));
  }
}

// Block (x, y, z): 32 channels, a share of the pixels, kTaps taps. Threads: kAcross along the channels, the others
// along the pixels.
template <int kWidth>
__global__ void __launch_bounds__(kThreads) depthwise_weights(const __grid_constant__ WeightTask t) {
  constexpr int kAcross = 32 / kWidth, kDown = kThreads / kAcross;
  using Sums = Channels<float, kWidth>;
  FNN_SHARED(Sums, shown, [kDown][kAcross]);
  const int across = static_cast<int>(threadIdx.x) % kAcross, down = static_cast<int>(threadIdx.x) / kAcross;
  const int channel = static_cast<int>(blockIdx.x) * 32 + across * kWidth, first = static_cast<int>(blockIdx.z) * kTaps;
  const int64_t begin = blockIdx.y * t.pixels_of_block, left = t.pixels - begin;
  const int count = static_cast<int>(left < t.pixels_of_block ? left : t.pixels_of_block);
  const int64_t image = begin / t.per_image.divisor(), before = image * t.per_image.divisor();
  const float* images = t.x + image * t.rows.size * (t.columns.size * t.c);
  const int offset = static_cast<int>(begin - before);
  Channels<float, kWidth> sums[kTaps] = {};
  if (channel < t.f)
    for (int pixel = down; pixel < count; pixel += kDown)
      add_pixel(t, offset + pixel, channel, first, sums, images, t.dz + before * t.f);
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    __syncthreads();
    shown[down][across] = sums[k];
    for (int half = kDown / 2; half > 0; half /= 2) {
      __syncthreads();
      if (down >= half) continue;
      for (int i = 0; i < kWidth; ++i) shown[down][across].at[i] += shown[down + half][across].at[i];
    }
    if (down == 0 && channel < t.f && first + k < t.taps)
      store_channels(t.parts + (int64_t{blockIdx.y} * t.taps + first + k) * t.f + channel, shown[0][across]);
  }
}

DepthwiseAxis axis(int64_t size, int64_t outputs, int64_t taps, int64_t stride, int64_t before, int64_t dilation) {
  return {narrow(size), narrow(outputs), narrow(taps), narrow(stride), -narrow(before), narrow(dilation)};
}

void input_gradient(const cpu::DepthwiseBackward& k, const DepthwiseAxis& rows, const DepthwiseAxis& columns,
                    cudaStream_t stream) {
  const cpu::ConvShape& s = k.shape;
  if (s.f == s.c && rows.stride == 1 && columns.stride == 1) {
    const auto turned = [](const DepthwiseAxis& a) {
      return DepthwiseAxis{a.outputs, a.size, a.taps, 1, -a.first - (a.taps - 1) * a.step, a.step};
    };
    return depthwise_windows({s.n, s.c, 1, turned(rows), turned(columns), k.dz, k.w, k.dx, true, {}}, stream);
  }
  for_each(s.n * s.h * s.w * s.c, stream, Scatter{k.dz, k.w, k.dx, rows, columns, s.c, s.f});
}

void weight_gradient(const cpu::DepthwiseBackward& k, const DepthwiseAxis& rows, const DepthwiseAxis& columns,
                     cudaStream_t stream) {
  const cpu::ConvShape& s = k.shape;
  const int64_t taps = s.kh * s.kw, pixels = s.n * s.pixels(), strips = (s.f + 31) / 32;
  const int64_t tap_groups = (taps + kTaps - 1) / kTaps;
  const int64_t most = std::max<int64_t>(1, 1056 / (strips * tap_groups)), least = 256;
  const int64_t pixels_of_block = std::max((pixels + most - 1) / most, least);
  const int64_t parts = std::max<int64_t>(1, (pixels + pixels_of_block - 1) / pixels_of_block);
  const Workspace sums(static_cast<std::size_t>(parts * taps * s.f) * sizeof(float), stream);
  narrow(s.pixels() + pixels_of_block);
  const WeightTask task = {k.x,
                           k.dz,
                           sums.as<float>(),
                           rows,
                           columns,
                           divisor(s.pixels()),
                           divisor(s.ow),
                           divisor(s.f / s.c),
                           divisor(s.kw),
                           s.c,
                           s.f,
                           pixels,
                           pixels_of_block,
                           narrow(taps)};
  const bool fours = s.f == s.c && s.c % kPack == 0 && aligned(k.x, k.dz);
  const dim3 grid(static_cast<unsigned>(strips), static_cast<unsigned>(parts), static_cast<unsigned>(tap_groups));
  FNN_CUDA_CHECK(launch(fours ? depthwise_weights<4> : depthwise_weights<1>, grid, kThreads, 0, stream, task));
  sum_parts(sums.as<float>(), parts, taps * s.f, k.dw, k.accumulate, stream);
}

}  // namespace

template <>
void run(const cpu::DepthwiseBackward& kernel, cudaStream_t stream) {
  const cpu::ConvShape& s = kernel.shape;
  begin_backward(kernel.activation, kernel.alpha, kernel.saved, kernel.dy, kernel.dz, kernel.db, s.n * s.pixels(), s.f,
                 kernel.accumulate, stream);
  if (s.c == 0) return;
  const DepthwiseAxis rows = axis(s.h, s.oh, s.kh, s.sh, s.top, s.dh);
  const DepthwiseAxis columns = axis(s.w, s.ow, s.kw, s.sw, s.left, s.dw);
  if (kernel.dw != nullptr && s.f > 0) weight_gradient(kernel, rows, columns, stream);
  if (kernel.dx != nullptr) input_gradient(kernel, rows, columns, stream);
}

}  // namespace fnn::cuda
