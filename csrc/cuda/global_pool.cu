// Pooling over whole NHWC images. Forward, a block has a stripe of an image's channels: its threads in x have
// neighbouring channels, those in y every so many pixels, and what these found is put together in a fixed order.
#include <cmath>
#include <cstdint>

#include "cpu/global_pool.h"
#include "cuda/channels.cuh"
#include "cuda/for_each.cuh"

namespace fnn::cuda {
namespace {

using cpu::GlobalPooling;

constexpr int kMaxColumns = 32;    // of threads in a block: with four channels each, 512 bytes of a pixel
constexpr std::int64_t kRun = 64;  // pixels that are summed by themselves, which keeps rounding errors small

template <int kWidth>
struct Sums {
  float sum[kWidth], part[kWidth];
  std::int64_t pixels;

  __device__ FNN_INLINE static Sums none() { return {}; }
  __device__ FNN_INLINE void meet(const Channels<float, kWidth>& x, std::int32_t /*pixel*/) {
    const bool full = ++pixels % kRun == 0;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      part[k] += x.at[k];
      sum[k] += full ? part[k] : 0.f;
      part[k] = full ? 0.f : part[k];
    }
  }
  __device__ FNN_INLINE void close() {
#pragma unroll
    for (int k = 0; k < kWidth; ++k) sum[k] += part[k];
  }
  __device__ FNN_INLINE void meet(const Sums& other) {
#pragma unroll
    for (int k = 0; k < kWidth; ++k) sum[k] += other.sum[k];
  }
};

// The first maximum wins a tie, the last NaN among NaNs; where no pixel wins, all being -inf, it is pixel 0.
template <int kWidth>
struct Maxima {
  float best[kWidth];
  std::int32_t where[kWidth];

  __device__ FNN_INLINE static Maxima none() {
    Maxima maxima;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) maxima.best[k] = -INFINITY, maxima.where[k] = 0;
    return maxima;
  }
  __device__ FNN_INLINE void meet(const Channels<float, kWidth>& x, std::int32_t pixel) {
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      const bool wins = x.at[k] > best[k] || x.at[k] != x.at[k];
      best[k] = wins ? x.at[k] : best[k];
      where[k] = wins ? pixel : where[k];
    }
  }
  __device__ FNN_INLINE void close() {}
  // Of other pixels, which may lie before these, behind them or between.
  __device__ FNN_INLINE void meet(const Maxima& other) {
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      const bool nan = best[k] != best[k], other_nan = other.best[k] != other.best[k];
      const bool later = other.where[k] > where[k];
      const bool wins = nan || other_nan ? other_nan && (!nan || later)
                                         : other.best[k] > best[k] || (other.best[k] == best[k] && !later);
      best[k] = wins ? other.best[k] : best[k];
      where[k] = wins ? other.where[k] : where[k];
    }
  }
};

// What of an image's channels from `channel` on the block found, complete in the threads of y = 0.
template <class Found, int kWidth>
__device__ FNN_INLINE Found survey(const GlobalPooling& s, const float* image, std::int64_t channel) {
  FNN_SHARED(Found, all, [kThreads]);
  Found found = Found::none();
  if (channel < s.channels) {
#pragma unroll 4
    for (std::int64_t pixel = threadIdx.y; pixel < s.pixels(); pixel += blockDim.y)
      found.meet(load_channels<kWidth>(image + pixel * s.channels + channel), static_cast<std::int32_t>(pixel));
  }
  found.close();
  const unsigned mine = threadIdx.y * blockDim.x + threadIdx.x;
  __syncthreads();  // what the block found before may still be read
  all[mine] = found;
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y >= half) continue;
    found.meet(all[mine + half * blockDim.x]);
    all[mine] = found;
  }
  return found;
}

// Calls body(image, channel) for the stripes of this block, one after the other.
template <int kWidth, class Body>
__device__ FNN_INLINE void for_stripes(const GlobalPooling& s, const Body& body) {
  const std::int64_t width = std::int64_t{blockDim.x} * kWidth, stripes = (s.channels + width - 1) / width;
  for (std::int64_t unit = blockIdx.x; unit < s.images * stripes; unit += gridDim.x)
    body(unit / stripes, unit % stripes * width + threadIdx.x * kWidth);
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads) global_average_forward(GlobalPooling s, const float* x, float* y) {
  const float scale = 1.f / static_cast<float>(s.pixels());
  for_stripes<kWidth>(s, [&](std::int64_t image, std::int64_t channel) {
    const auto found = survey<Sums<kWidth>, kWidth>(s, x + image * s.pixels() * s.channels, channel);
    if (threadIdx.y > 0 || channel >= s.channels) return;
    Channels<float, kWidth> mean;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) mean.at[k] = found.sum[k] * scale;
    store_channels(y + image * s.channels + channel, mean);
  });
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    global_max_forward(GlobalPooling s, const float* x, float* y, std::int32_t* index) {
  for_stripes<kWidth>(s, [&](std::int64_t image, std::int64_t channel) {
    const auto found = survey<Maxima<kWidth>, kWidth>(s, x + image * s.pixels() * s.channels, channel);
    if (threadIdx.y > 0 || channel >= s.channels) return;
    Channels<float, kWidth> best;
    Channels<std::int32_t, kWidth> where;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) best.at[k] = found.best[k], where.at[k] = found.where[k];
    store_channels(y + image * s.channels + channel, best);
    if (index != nullptr) store_channels(index + image * s.channels + channel, where);
  });
}

// dx[n,p,c] = part(dy[n,c], p, n * channels + c), each pixel written once.
template <int kWidth, class Part>
__device__ FNN_INLINE void spread(const GlobalPooling& s, const float* dy, float* dx, const Part& part) {
  const std::int64_t packs = s.channels / kWidth, items = s.images * s.pixels() * packs;
  for (std::int64_t item = first_index(); item < items; item += index_stride()) {
    const std::int64_t unit = item / packs, image = unit / s.pixels();
    const std::int64_t at = image * s.channels + (item - unit * packs) * kWidth;
    store_channels(dx + item * kWidth, part(load_channels<kWidth>(dy + at), unit - image * s.pixels(), at));
  }
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads) global_average_backward(GlobalPooling s, const float* dy, float* dx) {
  const float scale = 1.f / static_cast<float>(s.pixels());
  spread<kWidth>(s, dy, dx, [scale](Channels<float, kWidth> grad, std::int64_t, std::int64_t) {
    for (float& g : grad.at) g *= scale;
    return grad;
  });
}

// An index that is no pixel's is met by none: nothing is written out of place.
template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    global_max_backward(GlobalPooling s, const float* dy, const std::int32_t* index, float* dx) {
  spread<kWidth>(s, dy, dx, [index](Channels<float, kWidth> grad, std::int64_t pixel, std::int64_t at) {
    const Channels<std::int32_t, kWidth> winner = load_channels<kWidth>(index + at);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) grad.at[k] = winner.at[k] == pixel ? grad.at[k] : 0.f;
    return grad;
  });
}

// A block for stripes of `packs` packs of channels.
dim3 block_for(std::int64_t packs) {
  unsigned columns = 1;
  while (columns < kMaxColumns && columns < packs) columns *= 2;
  return {columns, kThreads / columns, 1};
}

unsigned stripe_blocks(const GlobalPooling& s, std::int64_t packs, dim3 block) {
  return blocks_for(s.images * ((packs + block.x - 1) / block.x), 1);
}

}  // namespace

template <>
void run(const cpu::GlobalAveragePoolForward& k, cudaStream_t stream) {
  if (k.shape.images * k.shape.channels == 0) return;
  with_width(k.shape.channels, true, {k.x, k.y}, [&](auto width) {
    const std::int64_t packs = k.shape.channels / width;
    const dim3 block = block_for(packs);
    FNN_CUDA_CHECK(launch(global_average_forward<decltype(width)::value>, stripe_blocks(k.shape, packs, block), block,
                          0, stream, k.shape, k.x, k.y));
  });
}

template <>
void run(const cpu::GlobalMaxPoolForward& k, cudaStream_t stream) {
  if (k.shape.images * k.shape.channels == 0) return;
  with_width(k.shape.channels, aligned_to_four(k.index, sizeof(std::int32_t)), {k.x, k.y}, [&](auto width) {
    const std::int64_t packs = k.shape.channels / width;
    const dim3 block = block_for(packs);
    FNN_CUDA_CHECK(launch(global_max_forward<decltype(width)::value>, stripe_blocks(k.shape, packs, block), block, 0,
                          stream, k.shape, k.x, k.y, k.index));
  });
}

template <>
void run(const cpu::GlobalAveragePoolBackward& k, cudaStream_t stream) {
  if (k.shape.count() == 0) return;
  with_width(k.shape.channels, true, {k.dy, k.dx}, [&](auto width) {
    FNN_CUDA_CHECK(launch(global_average_backward<decltype(width)::value>, blocks_for(k.shape.count() / width),
                          kThreads, 0, stream, k.shape, k.dy, k.dx));
  });
}

template <>
void run(const cpu::GlobalMaxPoolBackward& k, cudaStream_t stream) {
  if (k.shape.count() == 0) return;
  with_width(k.shape.channels, aligned_to_four(k.index, sizeof(std::int32_t)), {k.dy, k.dx}, [&](auto width) {
    FNN_CUDA_CHECK(launch(global_max_backward<decltype(width)::value>, blocks_for(k.shape.count() / width), kThreads, 0,
                          stream, k.shape, k.dy, k.index, k.dx));
  });
}

}  // namespace fnn::cuda
