#include <algorithm>

#include "cpu/arena.h"
#include "cpu/conv.h"
#include "cpu/dense.h"
#include "cpu/pack.h"
#include "cpu/padding.h"
#include "cpu/panel.h"
#include "cpu/winograd.h"

namespace fnn::cpu {
namespace {

struct Buffers {
  float* edge;
  float* image;          // one padded image
  std::int64_t* pixels;  // offset of each output pixel's window in the padded image
  Segment* segments;     // of one group

  Buffers(const ConvShape& s, ArenaCutter& cut)
      : edge(cut.take<float>(kEdgeFloats)),
        image(cut.take<float>(s.needs_padding() ? s.padded_h() * s.padded_w() * s.c : 0)),
        pixels(cut.take<std::int64_t>(s.pixels())),
        segments(cut.take<Segment>(s.kh * s.kw)) {}
};

void list_pixels(const ConvShape& s, std::int64_t* windows) {
  const std::int64_t row = s.row();
  for (std::int64_t i = 0, p = 0; i < s.oh; ++i)
    for (std::int64_t j = 0; j < s.ow; ++j, ++p) windows[p] = i * s.sh * row + j * s.sw * s.c;
}

// Where the product's depth (r, s, c) lies in the image, from a window's first element on.
std::int64_t list_segments(const ConvShape& s, Segment* segments) {
  const std::int64_t row = s.row();
  std::int64_t count = 0;
  if (s.groups == 1 && s.dw == 1) {
    for (std::int64_t r = 0; r < s.kh; ++r) segments[count++] = {r * s.dh * row, r * s.kw * s.c, s.kw * s.c};
    return count;
  }
  for (std::int64_t r = 0; r < s.kh; ++r)
    for (std::int64_t q = 0; q < s.kw; ++q, ++count)
      segments[count] = {r * s.dh * row + q * s.dw * s.c, count * s.group_c(), s.group_c()};
  return count;
}

// Narrow weights and those of few pixels are read where they lie; else panels are copied together, so that their rows
// do not fall into the same sets of the cache, and padded to whole vectors.
bool needs_packing(const ConvShape& s) {
  const bool wide = s.group_f() > 2 * kLanes && s.n * s.pixels() > 512;
  return s.group_f() % kLanes != 0 || wide;
}

std::int64_t packed_width(const ConvShape& s) { return (s.group_f() + kLanes - 1) / kLanes * kLanes; }

void pack_weights(const ConvShape& s, const float* w, float* packed, const Worker& worker) {
  for (std::int64_t g = worker.rank; g < s.groups; g += worker.size) {
    float* to = packed + g * packed_width(s) * s.depth();
    for (std::int64_t f = 0; f < s.group_f();) {
      const std::int64_t width = panel_vectors(kMaxTileRows, s.group_f() - f) * kLanes;
      const std::int64_t count = std::min(width, s.group_f() - f);
      pack_columns(w + g * s.group_f() + f, s.f, s.depth(), count, width, to);
      to += width * s.depth();
      f += width;
    }
  }
}

struct Segments {
  const Segment* first;
  std::int64_t count;
};

// Some output pixels of one image, all output channels; `windows` are their offsets in the padded `input`.
void multiply_pixels(const ConvForward& k, Range pixels, float* y, float* z, const float* input, const float* packed,
                     const std::int64_t* windows, Segments segments, float* edge) {
  const ConvShape& s = k.shape;
  for (std::int64_t f = 0; f < s.f;) {
    const std::int64_t group = f / s.group_f(), left = (group + 1) * s.group_f() - f;
    Panel panel = {};
    panel.vectors = panel_vectors(kMaxTileRows, left);
    const std::int64_t width = panel.vectors * kLanes;
    panel.columns = std::min(width, left);
    panel.tile.a = input + group * s.group_c();
    panel.tile.a_step = 1;
    panel.tile.b = packed != nullptr ? packed : k.w + f;
    panel.tile.ldb = packed != nullptr ? width : s.f;
    panel.tile.segments = segments.first;
    panel.tile.segment_count = segments.count;
    panel.tile.c = y + f;
    panel.tile.bias = k.epilogue.bias == nullptr ? nullptr : k.epilogue.bias + f;
    panel.z = z == nullptr ? nullptr : z + f;
    panel.activation = k.epilogue.activation;
    panel.alpha = k.epilogue.alpha;
    const auto map = [&](std::int64_t p, std::int64_t& a, std::int64_t& c) {
      a = windows[p];
      c = p * s.f;
    };
    multiply_panel(panel, pixels, map, edge);
    if (packed != nullptr) packed += width * s.depth();
    f += panel.columns;
  }
}

// Some output rows, counted over all images.
void compute_lines(const ConvForward& k, const Worker& worker, Range lines, Images<float> to) {
  const ConvShape& s = k.shape;
  const float* packed = needs_packing(s) ? worker.shared<float>() : nullptr;
  ArenaCutter cut(worker.scratch<void>());
  const Buffers buffers(s, cut);
  list_pixels(s, buffers.pixels);
  const Segments segments = {buffers.segments, list_segments(s, buffers.segments)};
  for (std::int64_t line = lines.begin; line < lines.end;) {
    const std::int64_t image = line / s.oh, end = std::min(lines.end, (image + 1) * s.oh);
    const Range pixels = {line % s.oh * s.ow, (end - image * s.oh) * s.ow};
    line = end;
    const float* input = k.x + image * s.h * s.w * s.c;
    if (s.needs_padding()) {
      pad_image(input, s.h, s.w, s.c, s.top, s.left, buffers.image, s.padded_h(), s.padded_w());
      input = buffers.image;
    }
    float* z = k.epilogue.z == nullptr ? nullptr : k.epilogue.z + image * to.floats;
    const std::int64_t step = chunk_rows(s.f, pixels.size());
    for (std::int64_t p = pixels.begin; p < pixels.end; p += step)
      multiply_pixels(k, {p, std::min(p + step, pixels.end)}, to[image], z, input, packed, buffers.pixels, segments,
                      buffers.edge);
  }
}

WinogradForward as_winograd(const ConvForward& k) { return {{}, k.shape, k.x, k.w, false, k.y, k.epilogue}; }

Gemm as_product(const ConvForward& k) {
  return DenseForward(k.x, k.w, k.y, k.shape.n * k.shape.pixels(), k.shape.c, k.shape.f, k.epilogue);
}

}  // namespace

Scratch ConvForward::scratch(int threads) const {
  if (winograd_wins(shape)) return as_winograd(*this).scratch(threads);
  ArenaCutter mine;
  Buffers(shape, mine);
  const std::int64_t packed = needs_packing(shape) ? shape.groups * packed_width(shape) * shape.depth() : 0;
  const Scratch in_steps = {static_cast<std::size_t>(packed) * sizeof(float), mine.used()};
  return shape.is_product() ? enough_for(in_steps, as_product(*this).scratch(threads)) : in_steps;
}

void ConvForward::prepare(const Worker& worker) const {
  if (winograd_wins(shape)) return as_winograd(*this).prepare(worker);
  if (needs_packing(shape)) pack_weights(shape, w, worker.shared<float>(), worker);
}

void ConvForward::operator()(const Worker& worker) const {
  if (shape.is_product()) return as_product(*this)(worker);
  if (winograd_wins(shape)) return as_winograd(*this)(worker);
  prepare(worker);
  worker.barrier();
  compute_lines(*this, worker, share(shape.n * shape.oh, worker.rank, worker.size), {y, shape.pixels() * shape.f});
}

void ConvForward::compute(const Worker& worker, Range images, Images<float> to) const {
  if (!winograd_wins(shape)) return compute_lines(*this, worker, {images.begin * shape.oh, images.end * shape.oh}, to);
  const WinogradForward winograd = as_winograd(*this);
  const std::int64_t tiles = winograd.tiles_per_image();
  winograd.compute(worker, {images.begin * tiles, images.end * tiles}, {x, shape.h * shape.w * shape.c}, to);
}

}  // namespace fnn::cpu
