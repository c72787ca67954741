#include <cmath>
#include <cstring>
#include <type_traits>

#include "cpu/lanes.h"
#include "cpu/pool.h"
#include "cpu/pool_index.h"

namespace fnn::cpu {
namespace {

struct NoIndex {};

// Stands for a size known to the compiler, so that the loops over a common window unroll.
template <std::int64_t kValue>
struct Fixed {
  constexpr operator std::int64_t() const { return kValue; }
};

// The taps of one window inside the image: rows [top, bottom) and columns [left, right) of it, whose width is `window`.
template <class Size>
struct Taps {
  Size top, bottom, left, right, window;
};
template <std::int64_t kSide>
struct FixedTaps {
  Fixed<0> top, left;
  Fixed<kSide> bottom, right, window;
};

// All channels of one output pixel. `x` is the window's first pixel, which is never read if it lies in the padding.
template <class Index, class T>
FNN_INLINE void pool_pixel(const float* x, std::int64_t row_stride, std::int64_t channels, const T& taps, float* y,
                           Index* index) {
  for_lanes(0, channels, [&](std::int64_t c, auto lanes) {
    Vec best(-INFINITY);
    VecInt where{static_cast<std::int32_t>(taps.top * taps.window + taps.left) + NativeI32{}};
    for (std::int64_t i = taps.top; i < taps.bottom; ++i) {
      for (std::int64_t j = taps.left; j < taps.right; ++j) {
        const Vec v = load(x + i * row_stride + j * channels + c, lanes);
        const VecInt wins = (v > best) | VecInt{v.v != v.v};
        best = select(wins, v, best);
        where.v = wins.v ? static_cast<std::int32_t>(i * taps.window + j) + NativeI32{} : where.v;
      }
    }
    store(y + c, best, lanes);
    if constexpr (!std::is_same_v<Index, NoIndex>) store_index(index + c, where, lanes);
  });
}

template <class Index>
void pool_row(const MaxPoolForward& k, std::int64_t unit, const Range* cols) {
  const Pooling s = k.shape;  // a copy, which the stores cannot change in the compiler's eyes
  const std::int64_t image = unit / s.rows.windows, row = unit % s.rows.windows;
  const std::int64_t channels = s.channels, row_stride = s.input_row(), window = s.cols.window;
  const Range rows = s.rows.taps(row);
  const bool square = s.rows.window == window && rows.size() == window;
  const float* x = k.x + (image * s.rows.size + s.rows.start(row)) * row_stride;
  float* y = k.y + unit * s.output_row();
  Index* index = static_cast<Index*>(k.index);
  if constexpr (!std::is_same_v<Index, NoIndex>) index += unit * s.output_row();
  for (std::int64_t col = 0; col < s.cols.windows; ++col, y += channels) {
    const Range taps = cols[col];
    const float* first = x + s.cols.start(col) * channels;
    const bool whole = square && taps.size() == window;
    if (whole && window == 2) {
      pool_pixel(first, row_stride, channels, FixedTaps<2>{}, y, index);
    } else if (whole && window == 3) {
      pool_pixel(first, row_stride, channels, FixedTaps<3>{}, y, index);
    } else {
      const Taps<std::int64_t> inside = {rows.begin, rows.end, taps.begin, taps.end, window};
      pool_pixel(first, row_stride, channels, inside, y, index);
    }
    if constexpr (!std::is_same_v<Index, NoIndex>) index += channels;
  }
}

template <class Index>
void pool_rows(const MaxPoolForward& k, const Worker& worker) {
  Range* cols = worker.scratch<Range>();
  for (std::int64_t col = 0; col < k.shape.cols.windows; ++col) cols[col] = k.shape.cols.taps(col);
  const Range mine = share(k.shape.images * k.shape.rows.windows, worker.rank, worker.size);
  for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) pool_row<Index>(k, unit, cols);
}

FNN_INLINE NativeI32 broadcast(std::int64_t position) { return static_cast<std::int32_t>(position) + NativeI32{}; }

FNN_INLINE void clear(float* begin, float* end) {
  if (begin < end) std::memset(begin, 0, static_cast<std::size_t>(end - begin) * sizeof(float));
}

// A row of dx below one row of windows that do not overlap, of which it is row `tap`: each window is read once.
template <class Index>
void route_row(Pooling s, const float* dy, const Index* index, std::int64_t tap, float* dx) {
  const std::int64_t channels = s.channels, window = s.cols.window;
  std::int64_t written = 0;
  for (std::int64_t col = 0; col < s.cols.windows; ++col, dy += channels, index += channels) {
    const std::int64_t start = s.cols.start(col);
    const std::int64_t begin = std::max<std::int64_t>(0, start), end = std::min(s.cols.size, start + window);
    clear(dx + written * channels, dx + begin * channels);
    for_lanes(0, channels, [&](std::int64_t c, auto lanes) {
      const VecInt winner = load_index(index + c, lanes);
      const Vec grad = load(dy + c, lanes);
      NativeI32 position = broadcast(tap * window + begin - start);
      for (float* p = dx + begin * channels + c; p < dx + end * channels; p += channels, position += 1) {
        store(p, select(VecInt{winner.v == position}, grad, Vec(0.f)), lanes);
      }
    });
    written = end;
  }
  clear(dx + written * channels, dx + s.cols.size * channels);
}

// A row of dx below any windows: each pixel sums what the windows [rows) x [cols[pixel]) above it send, if it won.
template <class Index>
void collect_row(Pooling s, const float* dy, const Index* index, Range rows, std::int64_t pixel_row, const Range* cols,
                 float* dx) {
  const std::int64_t channels = s.channels, row_stride = s.output_row();
  for (std::int64_t pixel = 0; pixel < s.cols.size; ++pixel, dx += channels) {
    const Range above = cols[pixel];
    for_lanes(0, channels, [&](std::int64_t c, auto lanes) {
      Vec sum(0.f);
      for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        const std::int64_t at = row * row_stride + c, tap = (pixel_row - s.rows.start(row)) * s.cols.window;
        for (std::int64_t col = above.begin; col < above.end; ++col) {
          const VecInt winner = load_index(index + at + col * channels, lanes);
          const NativeI32 here = broadcast(tap + pixel - s.cols.start(col));
          sum += select(VecInt{winner.v == here}, load(dy + at + col * channels, lanes), Vec(0.f));
        }
      }
      store(dx + c, sum, lanes);
    });
  }
}

template <class Index>
void collect_rows(const MaxPoolBackward& k, const Worker& worker) {
  const Pooling s = k.shape;
  Range* cols = worker.scratch<Range>();
  for (std::int64_t col = 0; col < s.cols.size; ++col) cols[col] = s.cols.covering(col);
  const bool apart = s.cols.stride >= s.cols.window;
  const Range mine = share(s.images * s.rows.size, worker.rank, worker.size);
  for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) {
    const std::int64_t image = unit / s.rows.size, pixel_row = unit % s.rows.size;
    const std::int64_t windows = image * s.rows.windows * s.output_row();
    const Range rows = s.rows.covering(pixel_row);
    const float* dy = k.dy + windows;
    const Index* index = static_cast<const Index*>(k.index) + windows;
    float* dx = k.dx + unit * s.input_row();
    if (apart && rows.size() == 1) {
      const std::int64_t at = rows.begin * s.output_row(), tap = pixel_row - s.rows.start(rows.begin);
      route_row(s, dy + at, index + at, tap, dx);
    } else {
      collect_row(s, dy, index, rows, pixel_row, cols, dx);
    }
  }
}

}  // namespace

void MaxPoolForward::operator()(const Worker& worker) const {
  if (index_bytes == 0) return pool_rows<NoIndex>(*this, worker);
  if (index_bytes == 1) return pool_rows<std::uint8_t>(*this, worker);
  pool_rows<std::uint16_t>(*this, worker);
}

void MaxPoolBackward::operator()(const Worker& worker) const {
  if (index_bytes == 1) return collect_rows<std::uint8_t>(*this, worker);
  collect_rows<std::uint16_t>(*this, worker);
}

}  // namespace fnn::cpu
