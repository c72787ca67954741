// dw[r, s, c, f] = sum over images and output pixels of x[i*sh + r*dh, j*sw + s*dw, c] dz[i, j, f]: a product of depth
// "pixels" whose rows (r, s, c) are shifted views of the padded image; one segment per output row.
#include <algorithm>

#include "cpu/arena.h"
#include "cpu/conv.h"
#include "cpu/gemm.h"
#include "cpu/gradient.h"
#include "cpu/pack.h"
#include "cpu/padding.h"
#include "cpu/panel.h"
#include "cpu/winograd.h"

namespace fnn::cpu {
namespace {

// Larger ones cost too much memory for a part a thread; the threads then share out the rows of dw and each reads all
// images.
bool fits_in_parts(const ConvShape& s) { return s.depth() * s.f <= ConvWeightGradient::kLargestPart; }

// One panel that is all of dz can be read where it lies.
bool packs_dz(const ConvShape& s) { return s.f > 2 * kLanes || s.group_f() % kLanes != 0; }

std::int64_t padded_group(const ConvShape& s) { return (s.group_f() + kLanes - 1) / kLanes * kLanes; }

struct Buffers {
  float* edge;
  float* image;        // one padded image
  float* dz_panels;    // one image of dz, panel by panel, padded to whole vectors
  std::int64_t* rows;  // offset of (r, s, c) in the image
  Segment* segments;   // per output row

  Buffers(const ConvShape& s, ArenaCutter& cut)
      : edge(cut.take<float>(kEdgeFloats)),
        image(cut.take<float>(s.needs_padding() ? s.padded_h() * s.padded_w() * s.c : 0)),
        dz_panels(cut.take<float>(packs_dz(s) ? s.pixels() * s.groups * padded_group(s) : 0)),
        rows(cut.take<std::int64_t>(s.depth())),
        segments(cut.take<Segment>(s.oh)) {}
};

void list_rows(const ConvShape& s, std::int64_t* rows) {
  for (std::int64_t r = 0, i = 0; r < s.kh; ++r)
    for (std::int64_t q = 0; q < s.kw; ++q)
      for (std::int64_t c = 0; c < s.group_c(); ++c, ++i) rows[i] = r * s.dh * s.row() + q * s.dw * s.c + c;
}

std::int64_t list_segments(const ConvShape& s, Segment* segments) {
  if (s.sh * s.row() == s.ow * s.sw * s.c && s.oh > 0) {  // output rows follow each other without a gap
    segments[0] = {0, 0, s.pixels()};
    return 1;
  }
  for (std::int64_t i = 0; i < s.oh; ++i) segments[i] = {i * s.sh * s.row(), i * s.ow, s.ow};
  return s.oh;
}

// Sums over some images into some rows of dw.
struct Sum {
  const ConvShape& s;
  const Buffers& buffers;
  std::int64_t segment_count;
  float* dw;

  // A few pixels of all panels, then the next: dz is read once, from left to right.
  void pack_dz(const float* dz) const {
    constexpr std::int64_t kChunk = 8;
    for (std::int64_t p = 0; p < s.pixels(); p += kChunk) {
      const std::int64_t count = std::min(kChunk, s.pixels() - p);
      float* panel = buffers.dz_panels;
      for (std::int64_t f = 0; f < s.f;) {
        const std::int64_t left = (f / s.group_f() + 1) * s.group_f() - f;
        const std::int64_t width = panel_vectors(kMaxTileRows, left) * kLanes, columns = std::min(width, left);
        pack_columns(dz + p * s.f + f, s.f, count, columns, width, panel + p * width);
        panel += width * s.pixels();
        f += columns;
      }
    }
  }

  void add(const float* image, const float* dz, Range rows, bool accumulate) const {
    if (packs_dz(s)) pack_dz(dz);
    const float* packed = buffers.dz_panels;
    for (std::int64_t f = 0; f < s.f;) {
      const std::int64_t group = f / s.group_f(), left = (group + 1) * s.group_f() - f;
      Panel panel = {};
      panel.vectors = panel_vectors(kMaxTileRows, left);
      const std::int64_t width = panel.vectors * kLanes;
      panel.columns = std::min(width, left);
      panel.tile.a = image + group * s.group_c();
      panel.tile.a_step = s.sw * s.c;
      panel.tile.b = packs_dz(s) ? packed : dz + f;
      panel.tile.ldb = packs_dz(s) ? width : s.f;
      packed += width * s.pixels();
      panel.tile.segments = buffers.segments;
      panel.tile.segment_count = segment_count;
      panel.tile.c = dw + f;
      panel.tile.accumulate = accumulate;
      multiply_panel(
          panel, rows,
          [&](std::int64_t i, std::int64_t& a, std::int64_t& c) {
            a = buffers.rows[i];
            c = i * s.f;
          },
          buffers.edge);
      f += panel.columns;
    }
  }
};

// Over some images.
Gemm as_product(const ConvWeightGradient& k, Range images, Images<const float> from, float* dw, bool accumulate) {
  const ConvShape& s = k.shape;
  const float* x = k.x + images.begin * s.pixels() * s.c;
  const float* dz = from[images.begin];
  return {{}, s.c, s.f, images.size() * s.pixels(), x, s.c, true, dz, s.f, false, dw, s.f, accumulate, {}};
}

WinogradWeightGradient as_winograd(const ConvWeightGradient& k) { return {{}, k.shape, k.x, k.dz, k.dw, k.accumulate}; }

// The same for any convolution; only some rows of dw.
void add_images(const ConvWeightGradient& k, const Worker& worker, Range images, Images<const float> from, Range rows,
                float* dw, bool accumulate) {
  const ConvShape& s = k.shape;
  ArenaCutter cut(worker.scratch<void>());
  const Buffers buffers(s, cut);
  list_rows(s, buffers.rows);
  const Sum sum = {s, buffers, list_segments(s, buffers.segments), dw};
  if (images.size() == 0 && !accumulate) std::fill(dw + rows.begin * s.f, dw + rows.end * s.f, 0.f);
  for (std::int64_t i = images.begin; i < images.end; ++i) {
    const float* image = k.x + i * s.h * s.w * s.c;
    if (s.needs_padding()) {
      pad_image(image, s.h, s.w, s.c, s.top, s.left, buffers.image, s.padded_h(), s.padded_w());
      image = buffers.image;
    }
    sum.add(image, from[i], rows, accumulate || i > images.begin);
  }
}

}  // namespace

bool ConvWeightGradient::in_parts(int threads) const {
  return WinogradWeightGradient::wins(shape, threads) || fits_in_parts(shape);
}

Scratch ConvWeightGradient::scratch(int threads) const {
  if (WinogradWeightGradient::wins(shape, threads)) return as_winograd(*this).scratch(threads);
  const std::int64_t parts = fits_in_parts(shape) ? threads * shape.depth() * shape.f : 0;
  const std::size_t shared = static_cast<std::size_t>(parts) * sizeof(float);
  if (shape.is_product()) {
    const Gemm product = as_product(*this, {0, shape.n}, {dz, 0}, dw, accumulate);
    return {shared, product.scratch(threads).per_thread};
  }
  ArenaCutter mine;
  Buffers(shape, mine);
  return {shared, mine.used()};
}

void ConvWeightGradient::add(const Worker& worker, Range images, Images<const float> from, bool first) const {
  if (WinogradWeightGradient::wins(shape, worker.size)) {
    const WinogradWeightGradient winograd = as_winograd(*this);
    const std::int64_t tiles = winograd.tiles_per_image();
    return winograd.add(worker, {images.begin * tiles, images.end * tiles}, from, first);
  }
  float* part = worker.shared<float>() + worker.rank * shape.depth() * shape.f;
  if (shape.is_product())
    as_product(*this, images, from, part, !first)(worker.alone());
  else
    add_images(*this, worker, images, from, {0, shape.depth()}, part, !first);
}

void ConvWeightGradient::finish(const Worker& worker) const {
  if (WinogradWeightGradient::wins(shape, worker.size)) return as_winograd(*this).finish(worker);
  sum_parts(worker, worker.shared<float>(), shape.depth() * shape.f, dw, accumulate);
}

void ConvWeightGradient::operator()(const Worker& worker) const {
  const Images<const float> from = {dz, shape.pixels() * shape.f};
  if (in_parts(worker.size)) {
    add(worker, share(shape.n, worker.rank, worker.size), from, true);
    worker.barrier();
    finish(worker);
  } else if (shape.is_product()) {
    as_product(*this, {0, shape.n}, from, dw, accumulate)(worker);
  } else {
    add_images(*this, worker, {0, shape.n}, from, share(shape.depth(), worker.rank, worker.size), dw, accumulate);
  }
}

}  // namespace fnn::cpu
