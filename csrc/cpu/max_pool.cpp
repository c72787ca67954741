#include <cmath>

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
  const Pooling& s = k.shape;
  const std::int64_t image = unit / s.rows.windows, row = unit % s.rows.windows;
  const std::int64_t channels = s.channels, row_stride = s.input_row(), window = s.cols.window;
  const Range rows = s.rows.taps(row);
  const float* x = k.x + (image * s.rows.size + s.rows.start(row)) * row_stride;
  const bool square = s.rows.window == window && rows.size() == window;
  for (std::int64_t col = 0; col < s.cols.windows; ++col) {
    const Range taps = cols[col];
    const float* first = x + s.cols.start(col) * channels;
    const std::int64_t at = unit * s.output_row() + col * channels;
    float* y = k.y + at;
    Index* index = static_cast<Index*>(k.index) + (std::is_same_v<Index, NoIndex> ? 0 : at);
    const bool whole = square && taps.size() == window;
    if (whole && window == 2) {
      pool_pixel(first, row_stride, channels, FixedTaps<2>{}, y, index);
    } else if (whole && window == 3) {
      pool_pixel(first, row_stride, channels, FixedTaps<3>{}, y, index);
    } else {
      const Taps<std::int64_t> inside = {rows.begin, rows.end, taps.begin, taps.end, window};
      pool_pixel(first, row_stride, channels, inside, y, index);
    }
  }
}

template <class Index>
void pool_rows(const MaxPoolForward& k, const Worker& worker) {
  Range* cols = worker.scratch<Range>();
  for (std::int64_t col = 0; col < k.shape.cols.windows; ++col) cols[col] = k.shape.cols.taps(col);
  const Range mine = share(k.shape.images * k.shape.rows.windows, worker.rank, worker.size);
  for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) pool_row<Index>(k, unit, cols);
}

// All channels of one pixel of dx: what the windows [rows) x [cols) above it send, each if this pixel won.
template <class Index>
FNN_INLINE void collect_pixel(const Pooling& s, const float* dy, const Index* index, Range rows, Range cols,
                              std::int64_t pixel_row, std::int64_t pixel_col, float* dx) {
  const std::int64_t channels = s.channels, row_stride = s.output_row();
  const auto position = [&](std::int64_t row, std::int64_t col) {
    const std::int64_t at = (pixel_row - s.rows.start(row)) * s.cols.window + pixel_col - s.cols.start(col);
    return static_cast<std::int32_t>(at) + NativeI32{};
  };
  if (rows.size() * cols.size() == 1) {  // windows that do not overlap
    const NativeI32 here = position(rows.begin, cols.begin);
    const std::int64_t at = rows.begin * row_stride + cols.begin * channels;
    for_lanes(0, channels, [&](std::int64_t c, auto lanes) {
      const VecInt won{load_index(index + at + c, lanes).v == here};
      store(dx + c, select(won, load(dy + at + c, lanes), Vec(0.f)), lanes);
    });
    return;
  }
  for_lanes(0, channels, [&](std::int64_t c, auto lanes) {
    Vec sum(0.f);
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      for (std::int64_t col = cols.begin; col < cols.end; ++col) {
        const std::int64_t at = row * row_stride + col * channels + c;
        const VecInt won{load_index(index + at, lanes).v == position(row, col)};
        sum += select(won, load(dy + at, lanes), Vec(0.f));
      }
    }
    store(dx + c, sum, lanes);
  });
}

template <class Index>
void collect_rows(const MaxPoolBackward& k, const Worker& worker) {
  const Pooling& s = k.shape;
  Range* cols = worker.scratch<Range>();
  for (std::int64_t col = 0; col < s.cols.size; ++col) cols[col] = s.cols.covering(col);
  const Range mine = share(s.images * s.rows.size, worker.rank, worker.size);
  for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) {
    const std::int64_t image = unit / s.rows.size, row = unit % s.rows.size;
    const std::int64_t windows = image * s.rows.windows * s.output_row();
    const Range rows = s.rows.covering(row);
    float* dx = k.dx + unit * s.input_row();
    for (std::int64_t col = 0; col < s.cols.size; ++col, dx += s.channels) {
      collect_pixel(s, k.dy + windows, static_cast<const Index*>(k.index) + windows, rows, cols[col], row, col, dx);
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
