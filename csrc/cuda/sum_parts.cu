#include "cuda/for_each.cuh"
#include "cuda/sum_parts.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

struct SumParts {
  const float* parts;
  int64_t part_count, count;
  float* to;
  bool accumulate, whole;

  __device__ void operator()(int64_t pack) const {
    const int64_t at = pack * kPack, left = count - at;
    Pack sum = {};
    for (int64_t part = 0; part < part_count; ++part) {
      const Pack more = load_pack(parts + part * count + at, left, whole);
      for (int i = 0; i < kPack; ++i) sum.v[i] += more.v[i];
    }
    if (accumulate) {
      const Pack before = load_pack(to + at, left, whole);
      for (int i = 0; i < kPack; ++i) sum.v[i] += before.v[i];
    }
    store_pack(to + at, sum, left, whole);
  }
};

}  // namespace

void sum_parts(const float* parts, int64_t part_count, int64_t count, float* to, bool accumulate, cudaStream_t stream) {
  const bool whole = count % kPack == 0 && aligned(parts, to);
  for_each((count + kPack - 1) / kPack, stream, SumParts{parts, part_count, count, to, accumulate, whole});
}

}  // namespace fnn::cuda
