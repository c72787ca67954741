// Random crops and flips of NHWC images, and their gradient: a block has a band of an image's rows and draws once for
// it. Each element of the result is written once, whichever way it goes.
#include <cstdint>

#include "cpu/crop_flip.h"
#include "cuda/channels.cuh"
#include "cuda/for_each.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

constexpr int64_t kBandItems = 1024;  // of a block: what the draw is worth

template <int kWidth>
__global__ void __launch_bounds__(kThreads) crop_flip(cpu::CropFlip k, int64_t band_rows, int64_t bands) {
  const int64_t from_h = k.back ? k.rows.out : k.rows.size, from_w = k.back ? k.cols.out : k.cols.size;
  const int64_t to_h = k.back ? k.rows.size : k.rows.out, to_w = k.back ? k.cols.size : k.cols.out;
  const int64_t packs = k.channels / kWidth, line = to_w * packs;
  for (int64_t unit = blockIdx.x; unit < k.images * bands; unit += gridDim.x) {
    const int64_t image = unit / bands, top = unit % bands * band_rows;
    const int64_t rows = to_h - top < band_rows ? to_h - top : band_rows;
    const CropMappings map = draw_crop(k.rows, k.cols, image, k.state[0], k.state[1], k.stream, k.back);
    const float* from = k.x + image * from_h * from_w * k.channels;
    float* to = k.y + (image * to_h + top) * to_w * k.channels;
    for (int64_t item = threadIdx.x; item < rows * line; item += kThreads) {
      const int64_t row = item / line, rest = item - row * line, col = rest / packs;
      const int64_t from_row = map.rows.source(top + row), from_col = map.cols.source(col);
      const bool inside = from_row >= 0 && from_row < from_h && from_col >= 0 && from_col < from_w;
      Channels<float, kWidth> value = {};
      if (inside)
        value =
            load_channels<kWidth>(from + (from_row * from_w + from_col) * k.channels + (rest - col * packs) * kWidth);
      store_channels(to + item * kWidth, value);
    }
  }
}

}  // namespace

template <>
void run(const cpu::CropFlip& k, cudaStream_t stream) {
  const int64_t to_h = k.back ? k.rows.size : k.rows.out, to_w = k.back ? k.cols.size : k.cols.out;
  if (k.images * to_h * to_w * k.channels == 0) return;
  with_width(k.channels, true, {k.x, k.y}, [&](auto width) {
    const int64_t line = to_w * k.channels / width;
    const int64_t band_rows = line < kBandItems ? kBandItems / line : 1, bands = (to_h + band_rows - 1) / band_rows;
    FNN_CUDA_CHECK(launch(crop_flip<decltype(width)::value>, blocks_for(k.images * bands, 1), kThreads, 0, stream, k,
                          band_rows, bands));
  });
}

}  // namespace fnn::cuda
