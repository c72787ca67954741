#include <algorithm>

#include "cpu/pack.h"
#include "cpu/winograd.h"
#include "cpu/winograd_tiles.h"

namespace fnn::cpu {

using namespace winograd;

namespace {

// Transformed weights, in shared scratch: for every point the panels [c, width] of a matrix [c, f].
struct Weights {
  std::int64_t width, point;  // floats of a row of all panels, of a point
  explicit Weights(const ConvShape& s) : width(whole_vectors(s.f)), point(plane(s.c * width)) {}
  std::int64_t floats() const { return kPoints * point; }
};

struct Buffers : Transformed {
  float* taps;     // [9, kLanes, width_out]: the weights of a few channels
  float* nowhere;  // where outputs beyond the image go

  Buffers(const ConvShape& s, ArenaCutter& cut)
      : Transformed(s, cut),
        taps(cut.take<float>(kTaps * kTaps * kLanes * width_out)),
        nowhere(cut.take<float>(width_out)) {}
};

// The nine taps of channels [first, first + count) as rows of f filters.
void copy_taps(const WinogradForward& k, std::int64_t first, std::int64_t count, const Buffers& buffers) {
  const ConvShape& s = k.shape;
  for (int tap = 0; tap < kTaps * kTaps; ++tap) {
    float* to = buffers.taps + tap * kLanes * buffers.width_out;
    const int from = k.turned ? kTaps * kTaps - 1 - tap : tap;
    if (k.turned)
      pack_transposed(k.w + from * s.c * s.f + first, s.c, count, s.f, buffers.width_out, to);
    else
      pack_columns(k.w + (from * s.c + first) * s.f, s.f, count, s.f, buffers.width_out, to);
  }
}

void transform_weights(const WinogradForward& k, const Worker& worker, const Buffers& buffers) {
  const ConvShape& s = k.shape;
  const Weights weights(s);
  const Range mine = share(s.c, worker.rank, worker.size, kLanes);
  const std::int64_t tap_size = kLanes * buffers.width_out;
  for (std::int64_t first = mine.begin; first < mine.end; first += kLanes) {
    const std::int64_t count = std::min<std::int64_t>(kLanes, mine.end - first);
    copy_taps(k, first, count, buffers);
    for (std::int64_t begin = 0; begin < weights.width;) {
      const int width = panel_width(s.f - begin);
      for (std::int64_t c = 0; c < count; ++c) {
        for (int f = 0; f < width; f += kLanes) {
          const float* from = buffers.taps + c * buffers.width_out + begin + f;
          float* to = worker.shared<float>() + begin * s.c + (first + c) * width + f;
          transform<Weight>([&](int i, int j) { return load(from + (i * kTaps + j) * tap_size); },
                            [&](int i, int j, Vec value) { store(to + (i * kIn + j) * weights.point, value); });
        }
      }
      begin += width;
    }
  }
}

// The matrix products of all points for `tiles` tiles.
void multiply(const ConvShape& s, const float* weights, std::int64_t tiles, const Buffers& buffers) {
  const Weights layout(s);
  const Segment segment = {0, 0, s.c};
  for (int point = 0; point < kPoints; ++point) {
    for (std::int64_t begin = 0; begin < layout.width;) {
      const int width = panel_width(s.f - begin);
      Panel panel = {};
      panel.vectors = width / kLanes;
      panel.columns = width;
      panel.tile.a = buffers.in + point * buffers.plane_in;
      panel.tile.a_step = 1;
      panel.tile.b = weights + point * layout.point + begin * s.c;
      panel.tile.ldb = width;
      panel.tile.segments = &segment;
      panel.tile.segment_count = 1;
      panel.tile.c = buffers.out + point * buffers.plane_out + begin;
      multiply_panel(
          panel, {0, tiles},
          [&](std::int64_t tile, std::int64_t& a, std::int64_t& c) {
            a = tile * buffers.width_in;
            c = tile * buffers.width_out;
          },
          buffers.edge);
      begin += width;
    }
  }
}

// y = f(A^T m A + bias) of one tile, the pixels beyond the image left out.
void finish_tile(const WinogradForward& k, const Tiles::Place& place, Images<float> to, const float* m,
                 const Buffers& buffers) {
  const ConvShape& s = k.shape;
  float* y = to[place.image];
  float* sum = k.epilogue.z != nullptr ? k.epilogue.z + place.image * to.floats : y;
  const bool relu = k.epilogue.activation == Activation::relu && k.epilogue.z == nullptr;
  const Window<kOut, float> window(sum, s.oh, s.ow, s.f, place.i, place.j, buffers.nowhere);
  for_lanes(0, s.f, [&](std::int64_t f, auto lanes) {
    const Vec bias = k.epilogue.bias == nullptr ? Vec(0.f) : load(k.epilogue.bias + f, lanes);
    const Vec least(relu ? 0.f : -INFINITY);
    transform<Output>(
        [&](int i, int j) { return load(m + (i * kIn + j) * buffers.plane_out + f); },
        [&](int i, int j, Vec value) { store(window.at[i * kOut + j] + f, max(value + bias, least), lanes); });
  });
  if (relu || (k.epilogue.activation == Activation::linear && k.epilogue.z == nullptr)) return;
  const std::int64_t count = std::min<std::int64_t>(kOut, s.ow - place.j) * s.f;
  for (std::int64_t i = place.i; i < std::min(place.i + kOut, s.oh); ++i) {
    const std::int64_t at = (i * s.ow + place.j) * s.f;
    activate(k.epilogue.activation, k.epilogue.alpha, sum + at, y + at, count);
  }
}

}  // namespace

std::int64_t images_at_once(const ConvShape& shape) {
  return winograd_wins(shape) ? std::max<std::int64_t>(1, block_size(shape) / Tiles(shape).per_image()) : 1;
}

bool winograd_wins(const ConvShape& s) {
  const bool fits = s.kh == 3 && s.kw == 3 && s.sh == 1 && s.sw == 1 && s.dh == 1 && s.dw == 1 && s.groups == 1;
  if (!fits || s.c < 16 || s.f < 16) return false;
  // In multiplications; those of a transform cost more than those of a product, which runs from registers.
  const double products = static_cast<double>(s.c) * static_cast<double>(s.f);
  const double tiles = static_cast<double>(Tiles(s).count), channels = static_cast<double>(s.c + s.f);
  const double here = tiles * (kPoints * products + 400.0 * channels) + 300.0 * products;
  return 9.0 * static_cast<double>(s.n * s.pixels()) * products > 1.1 * here;
}

ConvShape input_gradient_shape(const ConvShape& s) {
  ConvShape turned = s;
  turned.h = s.oh;
  turned.w = s.ow;
  turned.c = s.f;
  turned.f = s.c;
  turned.oh = s.h;
  turned.ow = s.w;
  turned.top = s.kh - 1 - s.top;
  turned.left = s.kw - 1 - s.left;
  return turned;
}

Scratch WinogradForward::scratch(int) const {
  ArenaCutter mine;
  Buffers(shape, mine);
  return {static_cast<std::size_t>(Weights(shape).floats()) * sizeof(float), mine.used()};
}

std::int64_t WinogradForward::tiles_per_image() const { return Tiles(shape).per_image(); }

void WinogradForward::prepare(const Worker& worker) const {
  ArenaCutter cut(worker.scratch<void>());
  transform_weights(*this, worker, Buffers(shape, cut));
}

void WinogradForward::compute(const Worker& worker, Range range, Images<const float> from, Images<float> to) const {
  const ConvShape& s = shape;
  ArenaCutter cut(worker.scratch<void>());
  const Buffers buffers(s, cut);
  buffers.clear_zeros();
  const Tiles tiles(s);
  for_blocks(s, range, [&](Range block) {
    for (std::int64_t t = 0; t < block.size(); ++t) {
      const Tiles::Place place = tiles.place(block.begin + t);
      const Window<kIn, const float> window(from[place.image], s.h, s.w, s.c, place.i - s.top, place.j - s.left,
                                            buffers.zeros);
      transform_pixels<Input>(window, s.c, buffers.in + t * buffers.width_in, buffers.plane_in);
    }
    multiply(s, worker.shared<float>(), block.size(), buffers);
    for (std::int64_t t = 0; t < block.size(); ++t)
      finish_tile(*this, tiles.place(block.begin + t), to, buffers.out + t * buffers.width_out, buffers);
  });
}

void WinogradForward::operator()(const Worker& worker) const {
  prepare(worker);
  worker.barrier();
  compute(worker, share(Tiles(shape).count, worker.rank, worker.size), {x, shape.h * shape.w * shape.c},
          {y, shape.pixels() * shape.f});
}

}  // namespace fnn::cpu
