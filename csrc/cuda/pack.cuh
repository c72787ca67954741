// Four floats that are read and written at once, 16 bytes, where they lie aligned and are all there.
#pragma once
#include <cstdint>

#include "cuda/fnn_cuda.h"

namespace fnn::cuda {

inline constexpr int kPack = 4;

struct alignas(16) Pack {
  float v[kPack];
};

// Whether packs may be read and written at multiples of 4 elements from each of these pointers.
template <class... T>
inline bool aligned(const T*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) | ... | std::uintptr_t{0}) % sizeof(Pack)) == 0;
}

// The elements p[0], p[1] ... of which `left` are there (may be below 0), the others being `fill`.
__device__ inline Pack load_pack(const float* p, std::int64_t left, bool whole, float fill = 0.f) {
  if (whole && left >= kPack) return *reinterpret_cast<const Pack*>(p);
  Pack pack;
#pragma unroll
  for (int i = 0; i < kPack; ++i) pack.v[i] = i < left ? p[i] : fill;
  return pack;
}

// Writes those of the elements that are there.
__device__ inline void store_pack(float* p, const Pack& pack, std::int64_t left, bool whole) {
  if (whole && left >= kPack) {
    *reinterpret_cast<Pack*>(p) = pack;
    return;
  }
#pragma unroll
  for (int i = 0; i < kPack; ++i)
    if (i < left) p[i] = pack.v[i];
}

}  // namespace fnn::cuda
