#include "cpu/depthwise.h"

#include <algorithm>

#include "cpu/arena.h"
#include "cpu/for_each.h"
#include "cpu/gradient.h"
#include "cpu/pack.h"
#include "cpu/padding.h"
#include "cpu/panel.h"

namespace fnn::cpu {
namespace {

constexpr int kPixels = 4;  // outputs computed together, so that a weight is loaded once for all

std::int64_t padded_channels(const ConvShape& s) { return (s.f + kLanes - 1) / kLanes * kLanes; }
std::int64_t padded_size(const ConvShape& s) { return s.padded_h() * s.padded_w() * padded_channels(s); }
std::int64_t taps(const ConvShape& s) { return s.kh * s.kw; }

// The padded image with each channel repeated for its filters and the channels padded to whole vectors.
void expand_image(const ConvShape& s, const float* image, float* dst) {
  const std::int64_t channels = padded_channels(s), mult = s.f / s.c;
  for (std::int64_t i = 0; i < s.padded_h(); ++i) {
    for (std::int64_t j = 0; j < s.padded_w(); ++j, dst += channels) {
      const std::int64_t y = i - s.top, x = j - s.left;
      if (y < 0 || y >= s.h || x < 0 || x >= s.w) {
        std::fill(dst, dst + channels, 0.f);
        continue;
      }
      const float* pixel = image + (y * s.w + x) * s.c;
      if (mult == 1)
        std::copy(pixel, pixel + s.c, dst);
      else
        for (std::int64_t f = 0; f < s.f; ++f) dst[f] = pixel[f / mult];
      std::fill(dst + s.f, dst + channels, 0.f);
    }
  }
}

// dx from the gradient of the expanded image: crops it and adds up each channel's filters.
void collapse_image(const ConvShape& s, const float* expanded, float* dx) {
  const std::int64_t channels = padded_channels(s), mult = s.f / s.c;
  for (std::int64_t y = 0; y < s.h; ++y) {
    for (std::int64_t x = 0; x < s.w; ++x, dx += s.c) {
      const std::int64_t i = y + s.top, j = x + s.left;
      const bool seen = i < s.padded_h() && j < s.padded_w();
      const float* pixel = expanded + (i * s.padded_w() + j) * channels;
      for (std::int64_t c = 0; c < s.c; ++c) {
        float sum = 0.f;
        if (seen)
          for (std::int64_t m = 0; m < mult; ++m) sum += pixel[c * mult + m];
        dx[c] = sum;
      }
    }
  }
}

// Sums of `count` neighbouring outputs, one vector of channels each; `window` is the first one's.
template <int count>
FNN_INLINE void filter(const ConvShape& s, const float* window, const float* w, const float* bias, float* y,
                       std::int64_t lanes) {
  const std::int64_t channels = padded_channels(s), row = s.padded_w() * channels;
  const Vec start = bias == nullptr ? Vec(0.f) : load_partial(bias, lanes);
  Vec sum[count];
  for (int p = 0; p < count; ++p) sum[p] = start;
  for (std::int64_t r = 0; r < s.kh; ++r) {
    for (std::int64_t q = 0; q < s.kw; ++q, w += channels) {
      const float* x = window + r * s.dh * row + q * s.dw * channels;
      const Vec weight = load(w);
#pragma GCC unroll 4
      for (int p = 0; p < count; ++p) sum[p] += weight * load(x + p * s.sw * channels);
    }
  }
  for (int p = 0; p < count; ++p) store_partial(y + p * s.f, sum[p], lanes);
}

void filter_row(const ConvShape& s, const float* row, const float* w, const float* bias, float* y) {
  const std::int64_t channels = padded_channels(s);
  for (std::int64_t f = 0; f < s.f; f += kLanes) {
    const std::int64_t lanes = std::min<std::int64_t>(kLanes, s.f - f);
    const float* offset = bias == nullptr ? nullptr : bias + f;
    std::int64_t j = 0;
    for (; j + kPixels <= s.ow; j += kPixels)
      filter<kPixels>(s, row + j * s.sw * channels + f, w + f, offset, y + j * s.f + f, lanes);
    for (; j < s.ow; ++j) filter<1>(s, row + j * s.sw * channels + f, w + f, offset, y + j * s.f + f, lanes);
  }
}

// parts[tap][f] += sum over the image's outputs of dz * x.
void add_weight_gradient(const ConvShape& s, const float* image, const float* dz, float* part) {
  const std::int64_t channels = padded_channels(s), row = s.padded_w() * channels;
  for (std::int64_t f = 0; f < s.f; f += kLanes) {
    const std::int64_t lanes = std::min<std::int64_t>(kLanes, s.f - f);
    for (std::int64_t tap = 0; tap < taps(s); ++tap) {
      const float* x = image + tap / s.kw * s.dh * row + tap % s.kw * s.dw * channels + f;
      Vec sum = load_partial(part + tap * s.f + f, lanes);
      for (std::int64_t i = 0; i < s.oh; ++i)
        for (std::int64_t j = 0; j < s.ow; ++j)
          sum += load_partial(dz + (i * s.ow + j) * s.f + f, lanes) * load(x + i * s.sh * row + j * s.sw * channels);
      store_partial(part + tap * s.f + f, sum, lanes);
    }
  }
}

// expanded[window] += dz * w, over all outputs.
void scatter_input_gradient(const ConvShape& s, const float* dz, const float* w, float* expanded) {
  const std::int64_t channels = padded_channels(s), row = s.padded_w() * channels;
  std::fill(expanded, expanded + padded_size(s), 0.f);
  for (std::int64_t i = 0; i < s.oh; ++i) {
    for (std::int64_t j = 0; j < s.ow; ++j) {
      float* window = expanded + i * s.sh * row + j * s.sw * channels;
      for (std::int64_t f = 0; f < s.f; f += kLanes) {
        const Vec grad = load_partial(dz + (i * s.ow + j) * s.f + f, std::min<std::int64_t>(kLanes, s.f - f));
        for (std::int64_t tap = 0; tap < taps(s); ++tap) {
          float* to = window + tap / s.kw * s.dh * row + tap % s.kw * s.dw * channels + f;
          store(to, load(to) + grad * load(w + tap * channels + f));
        }
      }
    }
  }
}

struct Buffers {
  float* weights;  // [tap, padded channels]
  float* image;    // expanded

  Buffers(const ConvShape& s, ArenaCutter& cut)
      : weights(cut.take<float>(taps(s) * padded_channels(s))), image(cut.take<float>(padded_size(s))) {}
};

Scratch scratch_of(const ConvShape& s, std::int64_t shared_floats) {
  ArenaCutter mine;
  Buffers(s, mine);
  return {static_cast<std::size_t>(shared_floats) * sizeof(float), mine.used()};
}

}  // namespace

Scratch DepthwiseForward::scratch(int) const { return scratch_of(shape, 0); }

void DepthwiseForward::operator()(const Worker& worker) const {
  const ConvShape& s = shape;
  ArenaCutter cut(worker.scratch<void>());
  const Buffers buffers(s, cut);
  pack_columns(w, s.f, taps(s), s.f, padded_channels(s), buffers.weights);
  float* sum = epilogue.z != nullptr ? epilogue.z : y;
  const Range lines = share(s.n * s.oh, worker.rank, worker.size);
  const std::int64_t line_floats = s.ow * s.f, row = s.padded_w() * padded_channels(s);
  for (std::int64_t line = lines.begin, expanded = -1; line < lines.end; ++line) {
    const std::int64_t image = line / s.oh, i = line % s.oh;
    if (image != expanded) expand_image(s, x + image * s.h * s.w * s.c, buffers.image);
    expanded = image;
    filter_row(s, buffers.image + i * s.sh * row, buffers.weights, epilogue.bias, sum + line * line_floats);
    if (epilogue.activation != Activation::linear || sum != y)
      activate(epilogue.activation, epilogue.alpha, sum + line * line_floats, y + line * line_floats, line_floats);
  }
}

Scratch DepthwiseBackward::scratch(int threads) const {
  return scratch_of(shape, dw == nullptr ? 0 : threads * taps(shape) * shape.f);
}

void DepthwiseBackward::operator()(const Worker& worker) const {
  const ConvShape& s = shape;
  const std::int64_t weights = taps(s) * s.f;
  begin_backward(worker, activation, alpha, saved, dy, dz, db, s.n * s.pixels(), s.f, accumulate);

  ArenaCutter cut(worker.scratch<void>());
  const Buffers buffers(s, cut);
  const Range images = share(s.n, worker.rank, worker.size);
  if (dw != nullptr) {
    float* part = worker.shared<float>() + worker.rank * weights;
    std::fill(part, part + weights, 0.f);
    for (std::int64_t i = images.begin; i < images.end; ++i) {
      expand_image(s, x + i * s.h * s.w * s.c, buffers.image);
      add_weight_gradient(s, buffers.image, dz + i * s.pixels() * s.f, part);
    }
    worker.barrier();
    sum_parts(worker, worker.shared<float>(), weights, dw, accumulate);
  }
  if (dx == nullptr) return;
  pack_columns(w, s.f, taps(s), s.f, padded_channels(s), buffers.weights);
  for (std::int64_t i = images.begin; i < images.end; ++i) {
    scatter_input_gradient(s, dz + i * s.pixels() * s.f, buffers.weights, buffers.image);
    collapse_image(s, buffers.image, dx + i * s.h * s.w * s.c);
  }
}

}  // namespace fnn::cpu
