#include "cpu/lanes.h"
#include "cpu/pool.h"

namespace fnn::cpu {
namespace {

// All channels of one output pixel. `x` is the window's first pixel, which is never read if it lies in the padding.
FNN_INLINE void average_pixel(const float* x, std::int64_t row_stride, std::int64_t channels, Range rows, Range cols,
                              float* y) {
  const Vec scale(1.f / static_cast<float>(rows.size() * cols.size()));
  for_lanes(0, channels, [&](std::int64_t c, auto lanes) {
    Vec sum(0.f);
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
      for (std::int64_t j = cols.begin; j < cols.end; ++j) sum += load(x + i * row_stride + j * channels + c, lanes);
    }
    store(y + c, sum * scale, lanes);
  });
}

// What the backward pass knows of the axes: the windows above each column of pixels, and the share of its windows'
// gradients that a pixel gets, a product of one factor for the window's row and one for its column.
struct Spread {
  Range* above;
  float *row_scale, *col_scale;

  static std::size_t bytes(const Pooling& s) {
    return static_cast<std::size_t>(s.cols.size) * sizeof(Range) +
           static_cast<std::size_t>(s.rows.windows + s.cols.windows) * sizeof(float);
  }
  Spread(const Pooling& s, Range* memory) : above(memory) {
    row_scale = reinterpret_cast<float*>(above + s.cols.size);
    col_scale = row_scale + s.rows.windows;
    for (std::int64_t i = 0; i < s.cols.size; ++i) above[i] = s.cols.covering(i);
    for (std::int64_t i = 0; i < s.rows.windows; ++i) row_scale[i] = 1.f / static_cast<float>(s.rows.taps(i).size());
    for (std::int64_t i = 0; i < s.cols.windows; ++i) col_scale[i] = 1.f / static_cast<float>(s.cols.taps(i).size());
  }
};

// A row of dx: each pixel's part of dy of the windows [rows) x [above[pixel]) above it.
void spread_row(Pooling s, const Spread& spread, const float* dy, Range rows, float* dx) {
  const std::int64_t channels = s.channels, row_stride = s.output_row();
  for (std::int64_t pixel = 0; pixel < s.cols.size; ++pixel, dx += channels) {
    const Range above = spread.above[pixel];
    for_lanes(0, channels, [&](std::int64_t c, auto lanes) {
      Vec sum(0.f);
      for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        const float* p = dy + row * row_stride + c;
        Vec part(0.f);
        for (std::int64_t col = above.begin; col < above.end; ++col) {
          part += Vec(spread.col_scale[col]) * load(p + col * channels, lanes);
        }
        sum += Vec(spread.row_scale[row]) * part;
      }
      store(dx + c, sum, lanes);
    });
  }
}

}  // namespace

void AveragePoolForward::operator()(const Worker& worker) const {
  const Pooling s = shape;  // a copy, which the stores cannot change in the compiler's eyes
  Range* cols = worker.scratch<Range>();
  for (std::int64_t col = 0; col < s.cols.windows; ++col) cols[col] = s.cols.taps(col);
  const Range mine = share(s.images * s.rows.windows, worker.rank, worker.size);
  for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) {
    const std::int64_t image = unit / s.rows.windows, row = unit % s.rows.windows;
    const Range rows = s.rows.taps(row);
    const float* in = x + (image * s.rows.size + s.rows.start(row)) * s.input_row();
    float* out = y + unit * s.output_row();
    for (std::int64_t col = 0; col < s.cols.windows; ++col, out += s.channels) {
      average_pixel(in + s.cols.start(col) * s.channels, s.input_row(), s.channels, rows, cols[col], out);
    }
  }
}

Scratch AveragePoolBackward::scratch(int /*threads*/) const { return {0, Spread::bytes(shape)}; }

void AveragePoolBackward::operator()(const Worker& worker) const {
  const Pooling s = shape;
  const Spread spread(s, worker.scratch<Range>());
  const Range mine = share(s.images * s.rows.size, worker.rank, worker.size);
  for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) {
    const float* windows = dy + unit / s.rows.size * s.rows.windows * s.output_row();
    spread_row(s, spread, windows, s.rows.covering(unit % s.rows.size), dx + unit * s.input_row());
  }
}

}  // namespace fnn::cpu
