// The convolution's output lies in a workspace, for as many images at a time as keep that small, and is pooled from
// there. The derivative of relu is taken of the pooled values, as on the CPU.
#include <algorithm>
#include <type_traits>

#include "cpu/conv_pool.h"
#include "cuda/gradient.h"
#include "cuda/run.h"
#include "cuda/workspace.h"

namespace fnn::cuda {

template <>
void run(const cpu::ConvForward& kernel, cudaStream_t stream);
template <>
void run(const cpu::MaxPoolForward& kernel, cudaStream_t stream);
template <>
void run(const cpu::MaxPoolBackward& kernel, cudaStream_t stream);
template <>
void run(const cpu::ConvBackward& kernel, cudaStream_t stream);

namespace {

using std::int64_t;

constexpr int64_t kMostFloats = int64_t{1} << 26;  // of the convolution's output that exist at a time

// The part of a pooling that is about `images` images from the first one on.
template <class Index>
Index* at_index(Index* index, int64_t element, int bytes) {
  using Byte = std::conditional_t<std::is_const_v<Index>, const char, char>;
  return index == nullptr ? nullptr : static_cast<Byte*>(index) + element * bytes;
}

}  // namespace

template <>
void run(const cpu::ConvPoolForward& kernel, cudaStream_t stream) {
  const cpu::ConvShape& s = kernel.conv.shape;
  const int64_t size = s.pixels() * s.f, pooled = kernel.pool.shape.rows.windows * kernel.pool.shape.output_row();
  if (s.n * pooled == 0) return;
  const int64_t step = std::clamp<int64_t>(kMostFloats / std::max<int64_t>(1, size), 1, s.n);
  const Workspace between(static_cast<std::size_t>(step * size) * sizeof(float), stream);
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    cpu::ConvForward conv = kernel.conv;
    conv.shape.n = images;
    conv.x += first * s.h * s.w * s.c;
    conv.y = between.as<float>();
    run(conv, stream);
    cpu::MaxPoolForward pool = kernel.pool;
    pool.shape.images = images;
    pool.x = conv.y;
    pool.y += first * pooled;
    pool.index = at_index(pool.index, first * pooled, pool.index_bytes);
    run(pool, stream);
  }
}

template <>
void run(const cpu::ConvPoolBackward& kernel, cudaStream_t stream) {
  const cpu::ConvShape& s = kernel.conv.shape;
  const cpu::Pooling& p = kernel.pool.shape;
  const int64_t size = s.n * s.pixels() * s.f;
  const bool masks = kernel.conv.activation != Activation::linear;
  const Workspace image(static_cast<std::size_t>(size) * sizeof(float), stream);
  const Workspace masked(masks ? static_cast<std::size_t>(p.output_count()) * sizeof(float) : 0, stream);
  cpu::MaxPoolBackward pool = kernel.pool;
  if (masks) {
    begin_backward(kernel.conv.activation, kernel.conv.alpha, kernel.y, pool.dy, masked.as<float>(), nullptr, 1,
                   p.output_count(), false, stream);
    pool.dy = masked.as<float>();
  }
  pool.dx = image.as<float>();
  run(pool, stream);
  cpu::ConvBackward conv = {kernel.conv};
  conv.dy = conv.dz = image.as<float>();
  conv.activation = Activation::linear;
  run(conv, stream);
}

}  // namespace fnn::cuda
