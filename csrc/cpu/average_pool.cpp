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

// All channels of one pixel of dx: its part of dy of the windows [rows) x [cols) above it.
FNN_INLINE void spread_pixel(const Pooling& s, const float* dy, Range rows, Range cols, float* dx) {
  const std::int64_t channels = s.channels, row_stride = s.output_row();
  for_lanes(0, channels, [&](std::int64_t c, auto lanes) {
    Vec sum(0.f);
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      const std::int64_t height = s.rows.taps(row).size();
      for (std::int64_t col = cols.begin; col < cols.end; ++col) {
        const Vec scale(1.f / static_cast<float>(height * s.cols.taps(col).size()));
        sum += scale * load(dy + row * row_stride + col * channels + c, lanes);
      }
    }
    store(dx + c, sum, lanes);
  });
}

}  // namespace

void AveragePoolForward::operator()(const Worker& worker) const {
  Range* cols = worker.scratch<Range>();
  for (std::int64_t col = 0; col < shape.cols.windows; ++col) cols[col] = shape.cols.taps(col);
  const Range mine = share(shape.images * shape.rows.windows, worker.rank, worker.size);
  for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) {
    const std::int64_t image = unit / shape.rows.windows, row = unit % shape.rows.windows;
    const float* in = x + (image * shape.rows.size + shape.rows.start(row)) * shape.input_row();
    float* out = y + unit * shape.output_row();
    for (std::int64_t col = 0; col < shape.cols.windows; ++col) {
      average_pixel(in + shape.cols.start(col) * shape.channels, shape.input_row(), shape.channels,
                    shape.rows.taps(row), cols[col], out + col * shape.channels);
    }
  }
}

void AveragePoolBackward::operator()(const Worker& worker) const {
  Range* cols = worker.scratch<Range>();
  for (std::int64_t col = 0; col < shape.cols.size; ++col) cols[col] = shape.cols.covering(col);
  const Range mine = share(shape.images * shape.rows.size, worker.rank, worker.size);
  for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) {
    const std::int64_t image = unit / shape.rows.size;
    const float* windows = dy + image * shape.rows.windows * shape.output_row();
    const Range rows = shape.rows.covering(unit % shape.rows.size);
    float* out = dx + unit * shape.input_row();
    for (std::int64_t col = 0; col < shape.cols.size; ++col) {
      spread_pixel(shape, windows, rows, cols[col], out + col * shape.channels);
    }
  }
}

}  // namespace fnn::cpu
