// Max and average pooling over windows of NHWC images: a thread has four neighbouring channels of a pixel of the
// result, or one where the channels aren't a multiple of four.
//
// Backward passes gather: a pixel of dx sums, in a fixed order, what the windows above it send. So the result has the
// same bits each time without atomics, whether windows overlap or leave gaps; and an index of any content is safe,
// since it is only compared.
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cpu/pool.h"
#include "cuda/channels.cuh"
#include "cuda/fast_divisor.h"
#include "cuda/for_each.cuh"

namespace fnn::cuda {
namespace {

using cpu::Pooling;

struct NoIndex {};

// Where an item lies: packs of channels vary fastest, then columns, rows, images.
struct Place {
  std::int64_t channel, col, row, image;
};
class Places {
 public:
  Places(std::int64_t packs, int width, std::int64_t cols, std::int64_t rows)
      : width_(width), packs_(packs), cols_(cols), rows_(rows), by_packs_(packs), by_cols_(cols), by_rows_(rows) {}

  __device__ FNN_INLINE Place of(std::int64_t item) const {
    const std::int64_t pixel = by_packs_.quotient(item), line = by_cols_.quotient(pixel);
    const std::int64_t image = by_rows_.quotient(line);
    return {(item - pixel * packs_) * width_, pixel - line * cols_, line - image * rows_, image};
  }

 private:
  int width_;
  std::int64_t packs_, cols_, rows_;
  Divisor by_packs_, by_cols_, by_rows_;
};

// The windows above a pixel.
class Covering {
 public:
  explicit Covering(const Pooling& s) : rows_(s.rows.stride), cols_(s.cols.stride) {}

  __device__ FNN_INLINE Range rows(const Pooling& s, std::int64_t row) const {
    return s.rows.covering(row, over(rows_));
  }
  __device__ FNN_INLINE Range cols(const Pooling& s, std::int64_t col) const {
    return s.cols.covering(col, over(cols_));
  }

 private:
  struct Over {
    const Divisor& divisor;
    __device__ FNN_INLINE std::int64_t operator()(std::int64_t n) const { return divisor.quotient(n); }
  };
  __device__ FNN_INLINE static Over over(const Divisor& divisor) { return {divisor}; }
  Divisor rows_, cols_;
};

// The items of this thread.
template <class Body>
__device__ FNN_INLINE void for_items(std::int64_t count, const Body& body) {
  for (std::int64_t item = first_index(); item < count; item += index_stride()) body(item);
}

// ---- max pooling

template <int kWidth>
struct Winners {
  float best[kWidth];
  std::int32_t where[kWidth];

  // The first maximum wins a tie, the last NaN among NaNs.
  __device__ FNN_INLINE void meet(const Channels<float, kWidth>& x, std::int32_t position) {
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      const bool wins = x.at[k] > best[k] || x.at[k] != x.at[k];
      best[k] = wins ? x.at[k] : best[k];
      where[k] = wins ? position : where[k];
    }
  }
};

// A window of kSide x kSide pixels that lies inside the image: all loads before the first comparison.
template <int kSide, int kWidth>
__device__ FNN_INLINE void meet_square(const float* x, std::int64_t channels, std::int64_t row_stride,
                                       Winners<kWidth>& winners) {
  Channels<float, kWidth> values[kSide * kSide];
#pragma unroll
  for (int tap = 0; tap < kSide * kSide; ++tap)
    values[tap] = load_channels<kWidth>(x + tap / kSide * row_stride + tap % kSide * channels);
#pragma unroll
  for (int tap = 0; tap < kSide * kSide; ++tap) winners.meet(values[tap], tap);
}

template <int kWidth, class Index>
__global__ void __launch_bounds__(kThreads)
    max_forward(Pooling s, Places places, const float* x, float* y, Index* index, std::int64_t items) {
  const std::int64_t row_stride = s.input_row(), window = s.cols.window;
  for_items(items, [&](std::int64_t item) {
    const Place at = places.of(item);
    const Range rows = s.rows.taps(at.row), cols = s.cols.taps(at.col);
    // The window's first pixel, which is never read if it lies in the padding.
    const float* first = x + (at.image * s.rows.size + s.rows.start(at.row)) * row_stride +
                         s.cols.start(at.col) * s.channels + at.channel;
    Winners<kWidth> winners;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      winners.best[k] = -INFINITY;
      winners.where[k] = static_cast<std::int32_t>(rows.begin * window + cols.begin);
    }
    if (rows.size() == 2 && cols.size() == 2 && s.rows.window == 2 && window == 2) {
      meet_square<2>(first, s.channels, row_stride, winners);
    } else if (rows.size() == 3 && cols.size() == 3 && s.rows.window == 3 && window == 3) {
      meet_square<3>(first, s.channels, row_stride, winners);
    } else {
      for (std::int64_t i = rows.begin; i < rows.end; ++i)
        for (std::int64_t j = cols.begin; j < cols.end; ++j)
          winners.meet(load_channels<kWidth>(first + i * row_stride + j * s.channels),
                       static_cast<std::int32_t>(i * window + j));
    }
    Channels<float, kWidth> largest;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) largest.at[k] = winners.best[k];
    store_channels(y + item * kWidth, largest);
    if constexpr (!std::is_same_v<Index, NoIndex>) {
      Channels<Index, kWidth> positions;
#pragma unroll
      for (int k = 0; k < kWidth; ++k) positions.at[k] = static_cast<Index>(winners.where[k]);
      store_channels(index + item * kWidth, positions);
    }
  });
}

template <int kWidth, class Index>
__global__ void __launch_bounds__(kThreads) max_backward(Pooling s, Places places, Covering covering, const float* dy,
                                                         const Index* index, float* dx, std::int64_t items) {
  for_items(items, [&](std::int64_t item) {
    const Place at = places.of(item);
    const Range rows = covering.rows(s, at.row), cols = covering.cols(s, at.col);
    const std::int64_t image = at.image * s.rows.windows * s.output_row() + at.channel;
    Channels<float, kWidth> sum = {};
#pragma unroll 1  // where windows do not overlap there is one, and more warps hide its latency better
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      const std::int64_t tap = (at.row - s.rows.start(row)) * s.cols.window;
#pragma unroll 1
      for (std::int64_t col = cols.begin; col < cols.end; ++col) {
        const std::int64_t from = image + row * s.output_row() + col * s.channels;
        const Channels<Index, kWidth> winner = load_channels<kWidth>(index + from);
        const Channels<float, kWidth> grad = load_channels<kWidth>(dy + from);
        const std::int64_t here = tap + at.col - s.cols.start(col);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum.at[k] += winner.at[k] == here ? grad.at[k] : 0.f;
      }
    }
    store_channels(dx + item * kWidth, sum);
  });
}

// ---- average pooling; the padding does not count

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    average_forward(Pooling s, Places places, const float* x, float* y, std::int64_t items) {
  const std::int64_t row_stride = s.input_row();
  for_items(items, [&](std::int64_t item) {
    const Place at = places.of(item);
    const Range rows = s.rows.taps(at.row), cols = s.cols.taps(at.col);
    const float* first = x + (at.image * s.rows.size + s.rows.start(at.row)) * row_stride +
                         s.cols.start(at.col) * s.channels + at.channel;
    Channels<float, kWidth> sum = {};
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
#pragma unroll 4
      for (std::int64_t j = cols.begin; j < cols.end; ++j) {
        const Channels<float, kWidth> value = load_channels<kWidth>(first + i * row_stride + j * s.channels);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum.at[k] += value.at[k];
      }
    }
    const float scale = 1.f / static_cast<float>(rows.size() * cols.size());
#pragma unroll
    for (int k = 0; k < kWidth; ++k) sum.at[k] *= scale;
    store_channels(y + item * kWidth, sum);
  });
}

// The share of a window's gradient that a pixel gets is a product of one factor for its rows and one for its columns.
template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    average_backward(Pooling s, Places places, Covering covering, const float* dy, float* dx, std::int64_t items) {
  for_items(items, [&](std::int64_t item) {
    const Place at = places.of(item);
    const Range rows = covering.rows(s, at.row), cols = covering.cols(s, at.col);
    const float* image = dy + at.image * s.rows.windows * s.output_row() + at.channel;
    Channels<float, kWidth> sum = {};
#pragma unroll 1
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      Channels<float, kWidth> part = {};
#pragma unroll 1
      for (std::int64_t col = cols.begin; col < cols.end; ++col) {
        const float scale = 1.f / static_cast<float>(s.cols.taps(col).size());
        const Channels<float, kWidth> grad = load_channels<kWidth>(image + row * s.output_row() + col * s.channels);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) part.at[k] += scale * grad.at[k];
      }
      const float scale = 1.f / static_cast<float>(s.rows.taps(row).size());
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum.at[k] += scale * part.at[k];
    }
    store_channels(dx + item * kWidth, sum);
  });
}

// ---- launchers

// A result's pixels, in packs of `width` channels.
Places windows_of(const Pooling& s, int width) { return {s.channels / width, width, s.cols.windows, s.rows.windows}; }
Places pixels_of(const Pooling& s, int width) { return {s.channels / width, width, s.cols.size, s.rows.size}; }

// Calls body(Index{}) with the type of the positions.
template <class Body>
void with_index(int index_bytes, const Body& body) {
  if (index_bytes == 1) return body(std::uint8_t{});
  body(std::uint16_t{});
}

}  // namespace

template <>
void run(const cpu::MaxPoolForward& k, cudaStream_t stream) {
  if (k.shape.output_count() == 0) return;
  with_width(k.shape.channels, aligned_to_four(k.index, k.index_bytes), {k.x, k.y}, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    const std::int64_t items = k.shape.output_count() / kWidth;
    const auto start = [&](auto index) {
      using Index = decltype(index);
      FNN_CUDA_CHECK(launch(max_forward<kWidth, Index>, blocks_for(items), kThreads, 0, stream, k.shape,
                            windows_of(k.shape, kWidth), k.x, k.y, static_cast<Index*>(k.index), items));
    };
    if (k.index_bytes == 0) return start(NoIndex{});
    with_index(k.index_bytes, start);
  });
}

template <>
void run(const cpu::MaxPoolBackward& k, cudaStream_t stream) {
  if (k.shape.input_count() == 0) return;
  with_width(k.shape.channels, aligned_to_four(k.index, k.index_bytes), {k.dy, k.dx}, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    const std::int64_t items = k.shape.input_count() / kWidth;
    with_index(k.index_bytes, [&](auto index) {
      using Index = decltype(index);
      FNN_CUDA_CHECK(launch(max_backward<kWidth, Index>, blocks_for(items), kThreads, 0, stream, k.shape,
                            pixels_of(k.shape, kWidth), Covering(k.shape), k.dy, static_cast<const Index*>(k.index),
                            k.dx, items));
    });
  });
}

template <>
void run(const cpu::AveragePoolForward& k, cudaStream_t stream) {
  if (k.shape.output_count() == 0) return;
  with_width(k.shape.channels, true, {k.x, k.y}, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    const std::int64_t items = k.shape.output_count() / kWidth;
    FNN_CUDA_CHECK(launch(average_forward<kWidth>, blocks_for(items), kThreads, 0, stream, k.shape,
                          windows_of(k.shape, kWidth), k.x, k.y, items));
  });
}

template <>
void run(const cpu::AveragePoolBackward& k, cudaStream_t stream) {
  if (k.shape.input_count() == 0) return;
  with_width(k.shape.channels, true, {k.dy, k.dx}, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    const std::int64_t items = k.shape.input_count() / kWidth;
    FNN_CUDA_CHECK(launch(average_backward<kWidth>, blocks_for(items), kThreads, 0, stream, k.shape,
                          pixels_of(k.shape, kWidth), Covering(k.shape), k.dy, k.dx, items));
  });
}

}  // namespace fnn::cuda
