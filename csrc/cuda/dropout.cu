// Dropout: a thread draws the four words of one Philox block, which decide on four neighbouring elements. The same mask
// as on the CPU, to the bit.
#include "cpu/dropout.h"
#include "cuda/for_each.cuh"
#include "math/random.h"

namespace fnn::cuda {
namespace {

using std::int64_t;
using std::uint64_t;

static_assert(kPack == 4, "one word of a Philox block for each element of a pack");

__global__ void __launch_bounds__(kThreads) dropout(cpu::Dropout k, std::int32_t threshold, float kept, bool whole) {
  const uint64_t key = k.state[0], step = k.state[1];
  const int64_t packs = (k.count + kPack - 1) / kPack;
  for (int64_t i = first_index(); i < packs; i += index_stride()) {
    const int64_t at = i * kPack;
    Pack x = load_pack(k.x + at, k.count - at, whole);
    // A counter has one word for the block; its overflow beyond 2^34 elements goes to the high word of the step.
    const auto block = static_cast<uint64_t>(i);
    const PhiloxBlock<uint64_t> random = philox<uint64_t>({{block, step, (step >> 32) ^ (block >> 32), k.stream}}, key);
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      const auto word = static_cast<std::int32_t>(static_cast<std::uint32_t>(random.word[j]));
      x.v[j] *= word < threshold ? 0.f : kept;
    }
    store_pack(k.y + at, x, k.count - at, whole);
  }
}

}  // namespace

template <>
void run(const cpu::Dropout& k, cudaStream_t stream) {
  if (k.count == 0) return;
  const float kept = k.rate < 1.0 ? static_cast<float>(1.0 / (1.0 - k.rate)) : 0.f;
  FNN_CUDA_CHECK(launch(dropout, blocks_for((k.count + kPack - 1) / kPack), kThreads, 0, stream, k,
                        bernoulli_threshold(k.rate), kept, aligned(k.x, k.y)));
}

}  // namespace fnn::cuda
