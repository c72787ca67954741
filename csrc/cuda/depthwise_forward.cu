// Depthwise convolution: a thread computes four neighbouring outputs of a row, so that each weight is read once for all
// and, in the usual windows, each pixel once for all outputs that see it. Bound by what is read and written.
#include "cpu/depthwise.h"
#include "cuda/conv_sizes.cuh"
#include "cuda/depthwise.cuh"
#include "cuda/depthwise_window.h"
#include "cuda/for_each.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

constexpr int kOutputs = 4;

struct Task {
  const float* x;
  const float* w;
  float* y;
  cpu::Epilogue epilogue;
  DepthwiseAxis rows, columns;
  FastDivisor channel_packs, row_parts, lines;  // the factors of an item's number, and filters of a channel
  FastDivisor filters;
  int64_t c, f;
  int items, last_tap;  // last_tap: weights are read from there backwards; below 0: forwards from the first
};

// sums[p] += w * x over the taps of one kernel row, whose pixels are `line` (of the image's row) and whose weights
// begin at w, `tap` floats apart. kTaps and kStride: known in advance, or 0.
template <int kTaps, int kStride, int kWidth>
__device__ void add_row(const Task& t, const float* line, const float* w, int64_t tap, int x,
                        Channels<float, kWidth> (&sums)[kOutputs]) {
  if constexpr (kTaps > 0) {
    Channels<float, kWidth> weights[kTaps];
#pragma unroll
    for (int s = 0; s < kTaps; ++s) weights[s] = load_channels<kWidth>(w + s * tap);
#pragma unroll
    for (int q = 0; q < (kOutputs - 1) * kStride + kTaps; ++q) {
      if (static_cast<unsigned>(x + q) >= static_cast<unsigned>(t.columns.size)) continue;
      const auto pixel = load_channels<kWidth>(line + (x + q) * t.c);
#pragma unroll
      for (int p = 0; p < kOutputs; ++p)
        if (q - p * kStride >= 0 && q - p * kStride < kTaps) add_product(sums[p], weights[q - p * kStride], pixel);
    }
  } else {
    for (int s = 0; s < t.columns.taps; ++s) {
      const auto weight = load_channels<kWidth>(w + s * tap);
#pragma unroll
      for (int p = 0; p < kOutputs; ++p) {
        const int at = x + p * t.columns.stride + s * t.columns.step;
        if (static_cast<unsigned>(at) < static_cast<unsigned>(t.columns.size))
          add_product(sums[p], weight, load_channels<kWidth>(line + at * t.c));
      }
    }
  }
}

template <int kWidth>
__device__ void finish(const Task& t, int64_t at, int channel, Channels<float, kWidth> sum) {
  const cpu::Epilogue& e = t.epilogue;
  if (e.bias != nullptr)
    for (int i = 0; i < kWidth; ++i) sum.at[i] += e.bias[channel + i];
  if (e.z != nullptr) store_channels(e.z + at, sum);
  with_activation(e.activation, e.alpha, [&](auto f) {
    for (int i = 0; i < kWidth; ++i) sum.at[i] = f.value(sum.at[i]);
  });
  store_channels(t.y + at, sum);
}

// An item is (image, row, four outputs, kWidth channels), the last running fastest.
template <int kTaps, int kStride, int kWidth>
__global__ void __launch_bounds__(kThreads, 4) depthwise_kernel(const __grid_constant__ Task t) {
  for (int64_t index = first_index(); index < t.items; index += index_stride()) {
    const int item = static_cast<int>(index);
    const int part = t.channel_packs.quotient(item), line = t.row_parts.quotient(part), n = t.lines.quotient(line);
    const int channel = (item - part * t.channel_packs.divisor()) * kWidth;
    const int j = (part - line * t.row_parts.divisor()) * kOutputs, i = line - n * t.lines.divisor();
    const int y = i * t.rows.stride + t.rows.first, x = j * t.columns.stride + t.columns.first;
    const float* image = t.x + n * t.rows.size * (t.columns.size * t.c) + t.filters.quotient(channel);
    const int64_t tap = t.last_tap < 0 ? t.f : -t.f;
    const float* w = t.w + channel + (t.last_tap < 0 ? 0 : t.last_tap * t.f);
    Channels<float, kWidth> sums[kOutputs] = {};
    for (int r = 0; r < t.rows.taps; ++r, w += t.columns.taps * tap) {
      const int at = y + r * t.rows.step;
      if (static_cast<unsigned>(at) < static_cast<unsigned>(t.rows.size))
        add_row<kTaps, kStride>(t, image + at * (t.columns.size * t.c), w, tap, x, sums);
    }
    const int64_t first = int64_t{line} * t.columns.outputs + j;
#pragma unroll
    for (int p = 0; p < kOutputs; ++p)
      if (j + p < t.columns.outputs) finish(t, (first + p) * t.f + channel, channel, sums[p]);
  }
}

template <int kWidth>
void launch_windows(const Task& t, cudaStream_t stream) {
  const DepthwiseAxis& a = t.columns;
  void (*kernel)(const Task) = depthwise_kernel<0, 0, kWidth>;
  if (a.step == 1 && a.stride == 1 && a.taps == 3) kernel = depthwise_kernel<3, 1, kWidth>;
  if (a.step == 1 && a.stride == 2 && a.taps == 3) kernel = depthwise_kernel<3, 2, kWidth>;
  if (a.step == 1 && a.stride == 1 && a.taps == 5) kernel = depthwise_kernel<5, 1, kWidth>;
  FNN_CUDA_CHECK(launch(kernel, blocks_for(t.items), kThreads, 0, stream, t));
}

}  // namespace

void depthwise_windows(const DepthwiseWindows& k, cudaStream_t stream) {
  const bool fours = k.filters == 1 && k.c % kPack == 0 && aligned(k.x, k.w, k.y, k.epilogue.z);
  const int64_t f = k.c * k.filters, parts = (k.columns.outputs + kOutputs - 1) / kOutputs;
  const int64_t packs = fours ? f / kPack : f, items_per_image = packs * parts * k.rows.outputs;
  if (items_per_image == 0) return;
  const int64_t step = std::max<int64_t>(1, (int64_t{1} << 29) / items_per_image);
  for (int64_t first = 0; first < k.n; first += step) {
    const int64_t items = std::min(step, k.n - first) * items_per_image;
    const int64_t at = first * k.rows.outputs * k.columns.outputs * f;
    cpu::Epilogue epilogue = k.epilogue;
    if (epilogue.z != nullptr) epilogue.z += at;
    const Task task = {k.x + first * k.rows.size * k.columns.size * k.c,
                       k.w,
                       k.y + at,
                       epilogue,
                       k.rows,
                       k.columns,
                       divisor(packs),
                       divisor(parts),
                       divisor(k.rows.outputs),
                       divisor(k.filters),
                       k.c,
                       f,
                       narrow(items),
                       k.turned ? k.rows.taps * k.columns.taps - 1 : -1};
    fours ? launch_windows<4>(task, stream) : launch_windows<1>(task, stream);
  }
}

template <>
void run(const cpu::DepthwiseForward& kernel, cudaStream_t stream) {
  const cpu::ConvShape& s = kernel.shape;
  if (s.f == 0) return;
  const auto axis = [](int64_t size, int64_t outputs, int64_t taps, int64_t stride, int64_t before, int64_t dilation) {
    return DepthwiseAxis{narrow(size),   narrow(outputs), narrow(taps),
                         narrow(stride), -narrow(before), narrow(dilation)};
  };
  depthwise_windows({s.n, s.c, s.f / s.c, axis(s.h, s.oh, s.kh, s.sh, s.top, s.dh),
                     axis(s.w, s.ow, s.kw, s.sw, s.left, s.dw), kernel.x, kernel.w, kernel.y, false, kernel.epilogue},
                    stream);
}

}  // namespace fnn::cuda
