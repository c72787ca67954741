// dw = G^T [sum over tiles of (B^T d B) * (A dz A^T)] G: the adjoint of the forward transform in the weights.
#include <algorithm>

#include "cpu/winograd.h"
#include "cpu/winograd_tiles.h"

namespace fnn::cpu {

using namespace winograd;

namespace {

// A thread's sum over its tiles, one matrix [c, whole_vectors(f)] for each point.
std::int64_t point_floats(const ConvShape& s) { return plane(s.c * whole_vectors(s.f)); }

// part (+)= transformed input^T times transformed dz, of `tiles` tiles.
void multiply(const ConvShape& s, std::int64_t tiles, bool accumulate, const Transformed& buffers, float* part) {
  const Segment segment = {0, 0, tiles};
  for (int point = 0; point < kPoints; ++point) {
    for (std::int64_t begin = 0; begin < buffers.width_out;) {
      const int width = panel_width(s.f - begin);
      Panel panel = {};
      panel.vectors = width / kLanes;
      panel.columns = width;
      panel.tile.a = buffers.in + point * buffers.plane_in;
      panel.tile.a_step = buffers.width_in;
      panel.tile.b = buffers.out + point * buffers.plane_out + begin;
      panel.tile.ldb = buffers.width_out;
      panel.tile.segments = &segment;
      panel.tile.segment_count = 1;
      panel.tile.c = part + point * point_floats(s) + begin;
      panel.tile.accumulate = accumulate;
      multiply_panel(
          panel, {0, s.c},
          [&](std::int64_t channel, std::int64_t& a, std::int64_t& c) {
            a = channel;
            c = channel * buffers.width_out;
          },
          buffers.edge);
      begin += width;
    }
  }
}

}  // namespace

bool WinogradWeightGradient::wins(const ConvShape& shape, int threads) {
  constexpr std::int64_t kLargestPart = 640 * 1024;  // floats
  return winograd_wins(shape) && kPoints * point_floats(shape) <= kLargestPart &&
         Tiles(shape).count >= 16 * static_cast<std::int64_t>(threads);
}

Scratch WinogradWeightGradient::scratch(int threads) const {
  ArenaCutter mine;
  Transformed(shape, mine);
  return {static_cast<std::size_t>(threads * kPoints * point_floats(shape)) * sizeof(float), mine.used()};
}

std::int64_t WinogradWeightGradient::tiles_per_image() const { return Tiles(shape).per_image(); }

void WinogradWeightGradient::add(const Worker& worker, Range range, Images<const float> from, bool first) const {
  const ConvShape& s = shape;
  ArenaCutter cut(worker.scratch<void>());
  const Transformed buffers(s, cut);
  buffers.clear_zeros();
  const Tiles tiles(s);
  float* part = worker.shared<float>() + worker.rank * kPoints * point_floats(s);
  for_blocks(s, range, [&](Range block) {
    for (std::int64_t t = 0; t < block.size(); ++t) {
      const Tiles::Place place = tiles.place(block.begin + t);
      const Window<kIn, const float> in(x + place.image * s.h * s.w * s.c, s.h, s.w, s.c, place.i - s.top,
                                        place.j - s.left, buffers.zeros);
      transform_pixels<Input>(in, s.c, buffers.in + t * buffers.width_in, buffers.plane_in);
      const Window<kOut, const float> out(from[place.image], s.oh, s.ow, s.f, place.i, place.j, buffers.zeros);
      transform_pixels<OutputAdjoint>(out, s.f, buffers.out + t * buffers.width_out, buffers.plane_out);
    }
    multiply(s, block.size(), !first || block.begin > range.begin, buffers, part);
  });
  if (first && range.size() == 0) std::fill(part, part + kPoints * point_floats(s), 0.f);
}

// dw (+)= G^T (sum of the parts, in order) G, for this worker's channels.
void WinogradWeightGradient::finish(const Worker& worker) const {
  const ConvShape& s = shape;
  const std::int64_t width = whole_vectors(s.f), point = point_floats(s);
  const Range mine = share(s.c, worker.rank, worker.size);
  for (std::int64_t c = mine.begin; c < mine.end; ++c) {
    for_lanes(0, s.f, [&](std::int64_t f, auto lanes) {
      const float* from = worker.shared<float>() + c * width + f;
      transform<WeightAdjoint>(
          [&](int i, int j) {
            const float* at = from + (i * kIn + j) * point;
            Vec sum = load(at);
            for (int part = 1; part < worker.size; ++part) sum += load(at + part * kPoints * point);
            return sum;
          },
          [&](int i, int j, Vec value) {
            float* to = dw + ((i * kTaps + j) * s.c + c) * s.f + f;
            store(to, accumulate ? load(to, lanes) + value : value, lanes);
          });
    });
  }
}

}  // namespace fnn::cpu
