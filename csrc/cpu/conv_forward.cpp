#include <algorithm>

#include "cpu/arena.h"
#include "cpu/conv.h"
#include "cpu/pack.h"
#include "cpu/padding.h"

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

// Weights are read where they lie, except that panels whose last vector is not full need a padded copy.
bool needs_packing(const ConvShape& s) { return s.group_f() % kLanes != 0; }

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

}  // namespace

Scratch ConvForward::scratch(int) const {
  ArenaCutter mine;
  Buffers(shape, mine);
  const std::int64_t packed = needs_packing(shape) ? shape.groups * packed_width(shape) * shape.depth() : 0;
  return {static_cast<std::size_t>(packed) * sizeof(float), mine.used()};
}

void ConvForward::operator()(const Worker& worker) const {
  const ConvShape& s = shape;
  const bool packed = needs_packing(s);
  if (packed) {
    pack_weights(s, w, worker.shared<float>(), worker);
    worker.barrier();
  }
  ArenaCutter cut(worker.scratch<void>());
  const Buffers buffers(s, cut);
  const std::int64_t row = s.row();
  for (std::int64_t i = 0, p = 0; i < s.oh; ++i)
    for (std::int64_t j = 0; j < s.ow; ++j, ++p) buffers.pixels[p] = i * s.sh * row + j * s.sw * s.c;
  const std::int64_t segment_count = list_segments(s, buffers.segments);

  const Range mine = share(s.n * s.oh, worker.rank, worker.size);  // output rows over all images
  for (std::int64_t line = mine.begin; line < mine.end;) {
    const std::int64_t image = line / s.oh, end = std::min(mine.end, (image + 1) * s.oh);
    const Range pixels = {line % s.oh * s.ow, (end - image * s.oh) * s.ow};
    line = end;
    const float* input = x + image * s.h * s.w * s.c;
    if (s.needs_padding()) {
      pad_image(input, s.h, s.w, s.c, s.top, s.left, buffers.image, s.padded_h(), s.padded_w());
      input = buffers.image;
    }
    const float* packed_weights = worker.shared<float>();
    for (std::int64_t f = 0; f < s.f;) {
      const std::int64_t group = f / s.group_f(), left = (group + 1) * s.group_f() - f;
      Panel panel;
      panel.vectors = panel_vectors(kMaxTileRows, left);
      const std::int64_t width = panel.vectors * kLanes;
      panel.columns = std::min(width, left);
      const std::int64_t at = image * s.pixels() * s.f + f;
      panel.tile = {input + group * s.group_c(),
                    nullptr,
                    1,
                    packed ? packed_weights : w + f,
                    packed ? width : s.f,
                    buffers.segments,
                    segment_count,
                    y + at,
                    nullptr,
                    epilogue.bias == nullptr ? nullptr : epilogue.bias + f,
                    false,
                    false};
      panel.z = epilogue.z == nullptr ? nullptr : epilogue.z + at;
      panel.activation = epilogue.activation;
      panel.alpha = epilogue.alpha;
      multiply_panel(
          panel, pixels,
          [&](std::int64_t p, std::int64_t& a, std::int64_t& c) {
            a = buffers.pixels[p];
            c = p * s.f;
          },
          buffers.edge);
      packed_weights += width * s.depth();
      f += panel.columns;
    }
  }
}

}  // namespace fnn::cpu
