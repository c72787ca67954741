// dx[i', j'] (padded coordinates) = sum over taps (r, s) with i' = i*sh + r*dh, j' = j*sw + s*dw of dz[i, j] w[r, s]^T.
//
// Pixels of dx that are congruent modulo the strides see the same taps: each such phase is a stride-1 product over a
// padded dz. Weights are transposed once, in the order in which the phases read them.
#include <algorithm>

#include "cpu/arena.h"
#include "cpu/conv.h"
#include "cpu/gemm.h"
#include "cpu/pack.h"
#include "cpu/padding.h"
#include "cpu/panel.h"
#include "cpu/winograd.h"

namespace fnn::cpu {
namespace {

// One axis of the problem: pixel x of dx, at padded coordinate x + before = phase + stride*j, takes its tap t from
// output j - shift(t) if tap t belongs to the phase.
struct Axis {
  std::int64_t size, out, taps, stride, dilation, before;

  std::int64_t phase_of_tap(std::int64_t tap) const { return tap * dilation % stride; }
  std::int64_t shift(std::int64_t tap) const { return tap * dilation / stride; }  // for a tap of the phase: exact
  std::int64_t phase_of_pixel(std::int64_t x) const { return (x + before) % stride; }
  std::int64_t step(std::int64_t x) const { return (x + before) / stride; }
  // Outputs that any pixel may look at: [first, first + count).
  std::int64_t first() const { return step(0) - (taps - 1) * dilation / stride; }
  std::int64_t count() const { return size == 0 ? 0 : step(size - 1) - first() + 1; }
};

struct Geometry {
  Axis y, x;
  explicit Geometry(const ConvShape& s)
      : y{s.h, s.oh, s.kh, s.sh, s.dh, s.top}, x{s.w, s.ow, s.kw, s.sw, s.dw, s.left} {}
  std::int64_t padded_pixels() const { return y.count() * x.count(); }
};

// The pixels of dx that share their taps, and those taps: ranges of the tables in Buffers.
struct Phase {
  Range pixels;
  const Segment* segments;
  std::int64_t segment_count;
};

struct Buffers {
  float* edge;
  float* image;          // one padded image of dz
  std::int64_t* a_rows;  // per pixel of dx, phase after phase: offset in `image`
  std::int64_t* c_rows;  // and in dx
  Segment* segments;     // per tap, phase after phase
  Phase* phases;

  Buffers(const ConvShape& s, ArenaCutter& cut)
      : edge(cut.take<float>(kEdgeFloats)),
        image(cut.take<float>(Geometry(s).padded_pixels() * s.f)),
        a_rows(cut.take<std::int64_t>(s.h * s.w)),
        c_rows(cut.take<std::int64_t>(s.h * s.w)),
        segments(cut.take<Segment>(s.kh * s.kw)),
        phases(cut.take<Phase>(s.sh * s.sw)) {}
};

std::int64_t packed_width(const ConvShape& s) { return (s.group_c() + kLanes - 1) / kLanes * kLanes; }

// Calls visit(r, s) for the taps of a phase, kernel columns from right to left: then dz runs from left to right, and
// neighbours in a row join to one segment.
template <class Visit>
void for_taps(const Geometry& g, std::int64_t phase_y, std::int64_t phase_x, const Visit& visit) {
  for (std::int64_t r = 0; r < g.y.taps; ++r) {
    if (g.y.phase_of_tap(r) != phase_y) continue;
    for (std::int64_t q = g.x.taps - 1; q >= 0; --q)
      if (g.x.phase_of_tap(q) == phase_x) visit(r, q);
  }
}

// packed[group][panel][tap, phase after phase][f][width]: w transposed.
void pack_weights(const ConvShape& s, const float* w, float* packed, const Worker& worker) {
  const Geometry geometry(s);
  for (std::int64_t g = worker.rank; g < s.groups; g += worker.size) {
    float* to = packed + g * packed_width(s) * s.kh * s.kw * s.group_f();
    for (std::int64_t c = 0; c < s.group_c();) {
      const std::int64_t width = panel_vectors(kMaxTileRows, s.group_c() - c) * kLanes;
      const std::int64_t count = std::min(width, s.group_c() - c);
      for (std::int64_t py = 0; py < s.sh; ++py)
        for (std::int64_t px = 0; px < s.sw; ++px)
          for_taps(geometry, py, px, [&](std::int64_t r, std::int64_t q) {
            const float* from = w + ((r * s.kw + q) * s.group_c() + c) * s.f + g * s.group_f();
            pack_transposed(from, s.f, s.group_f(), count, width, to);
            to += s.group_f() * width;
          });
      c += count;
    }
  }
}

// Appends a phase's segments and returns how many; `k` counts the rows of the packed weights.
std::int64_t list_segments(const ConvShape& s, const Geometry& g, std::int64_t py, std::int64_t px, std::int64_t& k,
                           Segment* segments) {
  std::int64_t count = 0;
  for_taps(g, py, px, [&](std::int64_t r, std::int64_t q) {
    const std::int64_t a = -(g.y.shift(r) * g.x.count() + g.x.shift(q)) * s.f;
    Segment* last = count > 0 ? &segments[count - 1] : nullptr;
    if (last != nullptr && s.groups == 1 && last->a + last->length == a)
      last->length += s.f;
    else
      segments[count++] = {a, k, s.group_f()};
    k += s.group_f();
  });
  return count;
}

// Fills the row tables of a phase and returns its number of pixels.
std::int64_t list_pixels(const ConvShape& s, const Geometry& g, std::int64_t py, std::int64_t px, std::int64_t* a_rows,
                         std::int64_t* c_rows) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < s.h; ++i) {
    if (g.y.phase_of_pixel(i) != py) continue;
    for (std::int64_t j = 0; j < s.w; ++j) {
      if (g.x.phase_of_pixel(j) != px) continue;
      a_rows[count] = ((g.y.step(i) - g.y.first()) * g.x.count() + g.x.step(j) - g.x.first()) * s.f;
      c_rows[count++] = (i * s.w + j) * s.c;
    }
  }
  return count;
}

void list_phases(const ConvShape& s, const Geometry& geometry, const Buffers& buffers) {
  std::int64_t pixel = 0, k = 0;
  Segment* segments = buffers.segments;
  for (std::int64_t py = 0; py < s.sh; ++py) {
    for (std::int64_t px = 0; px < s.sw; ++px) {
      const std::int64_t pixels = list_pixels(s, geometry, py, px, buffers.a_rows + pixel, buffers.c_rows + pixel);
      const std::int64_t count = list_segments(s, geometry, py, px, k, segments);
      buffers.phases[py * s.sw + px] = {{pixel, pixel + pixels}, segments, count};
      pixel += pixels;
      segments += count;
    }
  }
}

// Some pixels of one image and phase: every panel of every group.
void multiply_pixels(const ConvShape& s, Range pixels, const Phase& phase, const Buffers& buffers, const float* weights,
                     float* dx) {
  for (std::int64_t c = 0; c < s.c;) {
    const std::int64_t group = c / s.group_c(), left = (group + 1) * s.group_c() - c;
    Panel panel = {};
    panel.vectors = panel_vectors(kMaxTileRows, left);
    const std::int64_t width = panel.vectors * kLanes;
    panel.columns = std::min(width, left);
    panel.tile.a = buffers.image + group * s.group_f();
    panel.tile.a_step = 1;
    panel.tile.b = weights;
    panel.tile.ldb = width;
    panel.tile.segments = phase.segments;
    panel.tile.segment_count = phase.segment_count;
    panel.tile.c = dx + c;
    multiply_panel(
        panel, pixels,
        [&](std::int64_t p, std::int64_t& a, std::int64_t& to) {
          a = buffers.a_rows[p];
          to = buffers.c_rows[p];
        },
        buffers.edge);
    weights += width * s.kh * s.kw * s.group_f();
    c += panel.columns;
  }
}

WinogradForward as_winograd(const ConvInputGradient& k) {
  return {{}, input_gradient_shape(k.shape), k.dz, k.w, true, k.dx, {}};
}

Gemm as_product(const ConvInputGradient& k) {
  const ConvShape& s = k.shape;
  return {{}, s.n * s.pixels(), s.c, s.f, k.dz, s.f, false, k.w, s.f, true, k.dx, s.c, false, {}};
}

}  // namespace

Scratch ConvInputGradient::scratch(int threads) const {
  if (winograd_wins(input_gradient_shape(shape))) return as_winograd(*this).scratch(threads);
  ArenaCutter mine;
  Buffers(shape, mine);
  const std::int64_t packed = shape.groups * packed_width(shape) * shape.kh * shape.kw * shape.group_f();
  const Scratch in_steps = {static_cast<std::size_t>(packed) * sizeof(float), mine.used()};
  return shape.is_product() ? enough_for(in_steps, as_product(*this).scratch(threads)) : in_steps;
}

void ConvInputGradient::prepare(const Worker& worker) const {
  if (winograd_wins(input_gradient_shape(shape))) return as_winograd(*this).prepare(worker);
  pack_weights(shape, w, worker.shared<float>(), worker);
}

void ConvInputGradient::operator()(const Worker& worker) const {
  if (shape.is_product()) return as_product(*this)(worker);
  if (winograd_wins(input_gradient_shape(shape))) return as_winograd(*this)(worker);
  prepare(worker);
  worker.barrier();
  compute(worker, share(shape.n, worker.rank, worker.size), {dz, shape.pixels() * shape.f});
}

void ConvInputGradient::compute(const Worker& worker, Range images, Images<const float> from) const {
  const ConvShape& s = shape;
  if (winograd_wins(input_gradient_shape(s))) {
    const WinogradForward winograd = as_winograd(*this);
    const std::int64_t tiles = winograd.tiles_per_image();
    return winograd.compute(worker, {images.begin * tiles, images.end * tiles}, from, {dx, s.h * s.w * s.c});
  }
  const Geometry geometry(s);
  ArenaCutter cut(worker.scratch<void>());
  const Buffers buffers(s, cut);
  list_phases(s, geometry, buffers);
  for (std::int64_t image = images.begin; image < images.end; ++image) {
    pad_image(from[image], s.oh, s.ow, s.f, -geometry.y.first(), -geometry.x.first(), buffers.image, geometry.y.count(),
              geometry.x.count());
    for (std::int64_t p = 0; p < s.sh * s.sw; ++p) {
      const Phase& phase = buffers.phases[p];
      const std::int64_t step = chunk_rows(s.c, phase.pixels.size());
      for (std::int64_t at = phase.pixels.begin; at < phase.pixels.end; at += step)
        multiply_pixels(s, {at, std::min(at + step, phase.pixels.end)}, phase, buffers, worker.shared<float>(),
                        dx + image * s.h * s.w * s.c);
    }
  }
}

}  // namespace fnn::cpu
