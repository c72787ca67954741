#include "cpu/global_pool.h"

#include <cmath>
#include <cstring>

#include "cpu/lanes.h"

namespace fnn::cpu {
namespace {

constexpr std::int64_t kBlock = 64;  // channels that a thread takes at once: whole cache lines of x

// Calls body(image, begin, end) for this worker's blocks of channels of the images.
template <class Body>
FNN_INLINE void for_blocks(const GlobalPooling& s, const Worker& worker, const Body& body) {
  const std::int64_t blocks = (s.channels + kBlock - 1) / kBlock;
  const Range mine = share(s.images * blocks, worker.rank, worker.size);
  for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) {
    const std::int64_t begin = unit % blocks * kBlock;
    body(unit / blocks, begin, std::min(s.channels, begin + kBlock));
  }
}

}  // namespace

void GlobalAveragePoolForward::operator()(const Worker& worker) const {
  const Vec scale(1.f / static_cast<float>(shape.pixels()));
  for_blocks(shape, worker, [&](std::int64_t image, std::int64_t begin, std::int64_t end) {
    const float* in = x + image * shape.pixels() * shape.channels;
    for_lanes(begin, end, [&](std::int64_t c, auto lanes) {
      Vec sum(0.f);  // of the sums of rows, which keeps rounding errors small in large images
      for (std::int64_t row = 0; row < shape.height; ++row) {
        const float* p = in + row * shape.width * shape.channels + c;
        Vec part(0.f);
        for (std::int64_t col = 0; col < shape.width; ++col) part += load(p + col * shape.channels, lanes);
        sum += part;
      }
      store(y + image * shape.channels + c, sum * scale, lanes);
    });
  });
}

void GlobalAveragePoolBackward::operator()(const Worker& worker) const {
  const Vec scale(1.f / static_cast<float>(shape.pixels()));
  const Range mine = share(shape.images * shape.pixels(), worker.rank, worker.size);
  for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) {
    const float* in = dy + unit / shape.pixels() * shape.channels;
    float* out = dx + unit * shape.channels;
    for_lanes(0, shape.channels,
              [&](std::int64_t c, auto lanes) { store(out + c, load(in + c, lanes) * scale, lanes); });
  }
}

void GlobalMaxPoolForward::operator()(const Worker& worker) const {
  for_blocks(shape, worker, [&](std::int64_t image, std::int64_t begin, std::int64_t end) {
    const float* in = x + image * shape.pixels() * shape.channels;
    const std::int64_t out = image * shape.channels;
    for_lanes(begin, end, [&](std::int64_t c, auto lanes) {
      Vec best(-INFINITY);
      VecInt where{NativeI32{}};
      for (std::int64_t pixel = 0; pixel < shape.pixels(); ++pixel) {
        const Vec v = load(in + pixel * shape.channels + c, lanes);
        const VecInt wins = (v > best) | VecInt{v.v != v.v};
        best = select(wins, v, best);
        where.v = wins.v ? static_cast<std::int32_t>(pixel) + NativeI32{} : where.v;
      }
      store(y + out + c, best, lanes);
      if (index != nullptr) store(reinterpret_cast<float*>(index) + out + c, as_float(where), lanes);
    });
  });
}

void GlobalMaxPoolBackward::operator()(const Worker& worker) const {
  for_blocks(shape, worker, [&](std::int64_t image, std::int64_t begin, std::int64_t end) {
    float* out = dx + image * shape.pixels() * shape.channels;
    const std::size_t bytes = static_cast<std::size_t>(end - begin) * sizeof(float);
    for (std::int64_t pixel = 0; pixel < shape.pixels(); ++pixel) {
      std::memset(out + pixel * shape.channels + begin, 0, bytes);
    }
    for (std::int64_t c = begin; c < end; ++c) {
      const std::int64_t at = image * shape.channels + c;
      out[index[at] * shape.channels + c] = dy[at];
    }
  });
}

}  // namespace fnn::cpu
