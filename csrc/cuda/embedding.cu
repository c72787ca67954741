// Embedding. Backward, each block has every so many-th entry of the table: it looks through all ids, a warp's worth at
// a time, and adds the gradients of its entries in the order in which they come, a row of neighbouring columns by
// neighbouring threads. So the sums are the CPU's to the bit, without atomics.
#include <cmath>

#include "cpu/embedding.h"
#include "cuda/for_each.cuh"
#include "cuda/reduce.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

__global__ void __launch_bounds__(kThreads) embedding_forward(cpu::EmbeddingForward k, bool whole) {
  const int64_t packs = (k.width + kPack - 1) / kPack;
  for (int64_t item = first_index(); item < k.count * packs; item += index_stride()) {
    const int64_t i = item / packs, column = (item - i * packs) * kPack, entry = k.ids[i], left = k.width - column;
    Pack row = {{NAN, NAN, NAN, NAN}};
    if (entry >= 0 && entry < k.entries) row = load_pack(k.w + entry * k.width + column, left, whole);
    store_pack(k.y + i * k.width + column, row, left, whole);
  }
}

__global__ void __launch_bounds__(kThreads) clear(float* dw, int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_stride()) dw[i] = 0.f;
}

// Each warp for itself: block.x threads have the columns [32 * stripe, 32 * stripe + 32) of the entries that leave
// `bucket` when divided by `buckets`.
__global__ void __launch_bounds__(kThreads)
    embedding_backward(cpu::EmbeddingBackward k, int64_t stripes, int64_t buckets) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t warps = index_stride() / kWarp;
  for (int64_t unit = first_index() / kWarp; unit < stripes * buckets; unit += warps) {
    const int64_t bucket = unit / stripes, column = unit % stripes * kWarp + lane;
    int64_t current = -1;  // the entry whose sum is held
    float sum = 0.f;
    for (int64_t first = 0; first < k.count; first += kWarp) {
      const int64_t id = first + lane < k.count ? k.ids[first + lane] : -1;
      const bool mine = id >= 0 && id < k.entries && id % buckets == bucket;
      for (unsigned hits = __ballot_sync(kAllLanes, mine); hits != 0; hits &= hits - 1) {
        const int from = __ffs(static_cast<int>(hits)) - 1;
        const int64_t entry = __shfl_sync(kAllLanes, id, from);
        if (column >= k.width) continue;
        if (entry != current) {
          if (current >= 0) k.dw[current * k.width + column] = sum;
          current = entry;
          sum = k.dw[entry * k.width + column];
        }
        sum += k.dy[(first + from) * k.width + column];
      }
    }
    if (current >= 0) k.dw[current * k.width + column] = sum;
  }
}

}  // namespace

template <>
void run(const cpu::EmbeddingForward& k, cudaStream_t stream) {
  if (k.count * k.width == 0) return;
  const bool whole = k.width % kPack == 0 && aligned(k.w, k.y);
  FNN_CUDA_CHECK(
      launch(embedding_forward, blocks_for(k.count * ((k.width + kPack - 1) / kPack)), kThreads, 0, stream, k, whole));
}

template <>
void run(const cpu::EmbeddingBackward& k, cudaStream_t stream) {
  if (k.entries * k.width == 0) return;
  if (!k.accumulate)
    FNN_CUDA_CHECK(launch(clear, blocks_for(k.entries * k.width), kThreads, 0, stream, k.dw, k.entries * k.width));
  if (k.count == 0) return;
  constexpr int64_t kWarpsWanted = 4096;  // more would read the ids once more each
  const int64_t stripes = (k.width + kWarp - 1) / kWarp, room = kWarpsWanted / stripes;
  const int64_t buckets = room < 1 ? 1 : room < k.entries ? room : k.entries;
  FNN_CUDA_CHECK(
      launch(embedding_backward, blocks_for(stripes * buckets * kWarp), kThreads, 0, stream, k, stripes, buckets));
}

}  // namespace fnn::cuda
