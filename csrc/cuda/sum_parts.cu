#include "cuda/for_each.cuh"
#include "cuda/sum_parts.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

template <int kWidth>
struct SumParts {
  const float* parts;
  int64_t part_count, part_size, across;
  ActivatedOutput output;

  __device__ void operator()(int64_t i) const {
    Channels<float, kWidth> sum = {};
    for (int64_t part = 0; part < part_count; ++part) {
      const auto more = load_channels<kWidth>(parts + part * part_size + i * kWidth);
      for (int j = 0; j < kWidth; ++j) sum.at[j] += more.at[j];
    }
    const int64_t row = i / across;
    output.template finish<kWidth>(row, (i - row * across) * kWidth, sum.at);
  }
};

}  // namespace

void sum_parts(const float* parts, int64_t part_count, int64_t rows, int64_t columns, const ActivatedOutput& output,
               cudaStream_t stream) {
  const bool lie_right = output.line % kPack == 0 || rows == 1;
  with_width(columns, lie_right, {parts, output.c, output.z}, [&](auto width) {
    const int64_t across = columns / width;
    for_each(rows * across, stream, SumParts<width>{parts, part_count, rows * columns, across, output});
  });
}

}  // namespace fnn::cuda
