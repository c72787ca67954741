#include "cpu/conv_pool.h"

#include <algorithm>

#include "cpu/conv_steps.h"

namespace fnn::cpu {
namespace {

std::size_t float_bytes(std::int64_t count) { return (static_cast<std::size_t>(count) * sizeof(float) + 63) / 64 * 64; }

std::int64_t image_floats(const ConvShape& shape) { return shape.pixels() * shape.f; }

// The same pooling of some images only.
Pooling of_images(const Pooling& whole, Range images) {
  Pooling part = whole;
  part.images = images.size();
  return part;
}
std::int64_t pooled_floats(const Pooling& pooling) {
  return pooling.output_count() / std::max<std::int64_t>(1, pooling.images);
}

template <class Index>
Index* at_index(Index* index, std::int64_t element, int bytes) {
  using Byte = std::conditional_t<std::is_const_v<Index>, const char, char>;
  return index == nullptr ? nullptr : static_cast<Byte*>(index) + element * bytes;
}

}  // namespace

Scratch ConvPoolForward::scratch(int threads) const {
  const Scratch one = conv.scratch(threads), two = pool.scratch(threads);
  const std::int64_t between = images_at_once(conv.shape) * image_floats(conv.shape);
  return {one.shared, float_bytes(between) + std::max(one.per_thread, two.per_thread)};
}

void ConvPoolForward::operator()(const Worker& worker) const {
  const std::int64_t step = images_at_once(conv.shape), size = image_floats(conv.shape);
  const std::int64_t pooled = pooled_floats(pool.shape);
  float* between = worker.scratch<float>();
  const Worker inner = worker.with(worker.shared<void>(), worker.scratch<std::byte>() + float_bytes(step * size));
  conv.prepare(inner);
  worker.barrier();
  const Range mine = share(conv.shape.n, worker.rank, worker.size);
  for (std::int64_t image = mine.begin; image < mine.end; image += step) {
    const Range images = {image, std::min(image + step, mine.end)};
    conv.compute(inner, images, {between, size, image});
    MaxPoolForward part = pool;
    part.shape = of_images(pool.shape, images);
    part.x = between;
    part.y = pool.y + image * pooled;
    part.index = at_index(pool.index, image * pooled, pool.index_bytes);
    part(inner.alone());
  }
}

Scratch ConvPoolBackward::scratch(int threads) const {
  const Scratch one = ConvSteps(conv).scratch(threads), two = pool.scratch(threads);
  const std::int64_t step = images_at_once(conv.shape);
  return {one.shared, float_bytes(step * image_floats(conv.shape)) + float_bytes(step * pooled_floats(pool.shape)) +
                          std::max(one.per_thread, two.per_thread)};
}

void ConvPoolBackward::operator()(const Worker& worker) const {
  const std::int64_t step = images_at_once(conv.shape), size = image_floats(conv.shape);
  const std::int64_t pooled = pooled_floats(pool.shape);
  std::byte* block = worker.scratch<std::byte>();
  float* dz = reinterpret_cast<float*>(block);
  float* masked = reinterpret_cast<float*>(block + float_bytes(step * size));
  const Worker inner =
      worker.with(worker.shared<void>(), block + float_bytes(step * size) + float_bytes(step * pooled));
  ConvSteps(conv).run(inner, [&](Range images) -> Images<const float> {
    const std::int64_t at = images.begin * pooled;
    activation_gradient(conv.activation, conv.alpha, y + at, pool.dy + at, masked, images.size() * pooled);
    MaxPoolBackward part = pool;
    part.shape = of_images(pool.shape, images);
    part.dy = masked;
    part.index = at_index(pool.index, at, pool.index_bytes);
    part.dx = dz;
    part(inner.alone());
    return {dz, size, images.begin};
  });
}

}  // namespace fnn::cpu
