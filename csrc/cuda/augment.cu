// A block has a band of an image of the batch and draws once for it. Neighbouring threads have neighbouring floats of
// the result, and so, flipped or not, neighbouring bytes of the source.
#include <cmath>
#include <cstdint>

#include "cuda/augment.h"
#include "cuda/for_each.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

constexpr int64_t kBandItems = 1024;  // of a block: what the draw is worth

template <class Stored>
__global__ void __launch_bounds__(kThreads) augment(AugmentBatch k, int64_t band_rows, int64_t bands) {
  const auto* x = static_cast<const Stored*>(k.x);
  const int64_t line = k.cols.out * k.channels, image_size = k.rows.size * k.cols.size * k.channels;
  for (int64_t unit = blockIdx.x; unit < k.count * bands; unit += gridDim.x) {
    const int64_t i = unit / bands, top = unit % bands * band_rows, sample = k.index[i];
    const int64_t rows = k.rows.out - top < band_rows ? k.rows.out - top : band_rows;
    const bool valid = sample >= 0 && sample < k.samples;
    const CropMappings map = draw_crop(k.rows, k.cols, sample, k.state[0], k.state[1], k.stream, false);
    const Stored* from = x + (valid ? sample : 0) * image_size;
    float* to = k.out + (i * k.rows.out + top) * line;
    for (int64_t item = threadIdx.x; item < rows * line; item += kThreads) {
      const int64_t row = item / line, rest = item - row * line, col = rest / k.channels, c = rest - col * k.channels;
      const int64_t from_row = map.rows.source(top + row), from_col = map.cols.source(col);
      const bool inside = from_row >= 0 && from_row < k.rows.size && from_col >= 0 && from_col < k.cols.size;
      const float stored =
          valid && inside ? static_cast<float>(from[(from_row * k.cols.size + from_col) * k.channels + c]) : 0.f;
      to[item] = valid ? stored * k.scale[c] + k.shift[c] : NAN;
    }
  }
}

}  // namespace

template <>
void run(const AugmentBatch& k, cudaStream_t stream) {
  const int64_t line = k.cols.out * k.channels;
  if (k.count * k.rows.out * line == 0) return;
  const int64_t band_rows = line < kBandItems ? kBandItems / line : 1, bands = (k.rows.out + band_rows - 1) / band_rows;
  const auto kernel = k.bytes ? augment<std::uint8_t> : augment<float>;
  FNN_CUDA_CHECK(launch(kernel, blocks_for(k.count * bands, 1), kThreads, 0, stream, k, band_rows, bands));
}

}  // namespace fnn::cuda
