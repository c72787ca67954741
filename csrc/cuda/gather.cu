// Rows of an array, picked by number: a thread copies up to 16 bytes of a row.
//
// A number can't be checked before the kernel runs, which happens on the device. One that is no row's gives a row whose
// bits are all ones: NaN as floats, -1 as integers, which the losses take for no label and answer with NaN.
#include <cstdint>

#include "cpu/gather.h"
#include "cuda/for_each.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

struct alignas(16) Chunk16 {
  std::uint64_t low, high;
};
template <class Chunk>
__device__ inline Chunk all_ones() {
  return static_cast<Chunk>(~Chunk{});
}
template <>
__device__ inline Chunk16 all_ones() {
  return {~std::uint64_t{}, ~std::uint64_t{}};
}

template <class Chunk>
__global__ void __launch_bounds__(kThreads) gather(cpu::GatherRows k, int64_t chunks) {
  const auto* x = reinterpret_cast<const Chunk*>(k.x);
  auto* out = reinterpret_cast<Chunk*>(k.out);
  for (int64_t item = first_index(); item < k.count * chunks; item += index_stride()) {
    const int64_t i = item / chunks, row = k.index[i];
    out[item] = row >= 0 && row < k.x_rows ? x[row * chunks + (item - i * chunks)] : all_ones<Chunk>();
  }
}

template <class Chunk>
bool run_chunks(const cpu::GatherRows& k, cudaStream_t stream) {
  constexpr int64_t kBytes = sizeof(Chunk);
  const std::uintptr_t addresses = reinterpret_cast<std::uintptr_t>(k.x) | reinterpret_cast<std::uintptr_t>(k.out);
  if (k.row_bytes % kBytes != 0 || addresses % kBytes != 0) return false;
  const int64_t chunks = k.row_bytes / kBytes;
  FNN_CUDA_CHECK(launch(gather<Chunk>, blocks_for(k.count * chunks), kThreads, 0, stream, k, chunks));
  return true;
}

}  // namespace

template <>
void run(const cpu::GatherRows& k, cudaStream_t stream) {
  if (k.count * k.row_bytes == 0) return;
  run_chunks<Chunk16>(k, stream) || run_chunks<std::uint64_t>(k, stream) || run_chunks<std::uint32_t>(k, stream) ||
      run_chunks<std::uint16_t>(k, stream) || run_chunks<std::uint8_t>(k, stream);
}

}  // namespace fnn::cuda
