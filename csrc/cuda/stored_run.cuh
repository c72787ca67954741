// A run of 256 elements of one tensor, worked on by a warp as float32 whatever the arrays are stored as.
//
// Lane l has the elements 4 l .. 4 l + 3 and 128 + 4 l .. 128 + 4 l + 3. So arrays of float32 are read and written by
// 16 bytes, of 16 bits by 8 and of 8 bits by 4, without gaps over the warp; 256 numbers of 8 bits share a scale; and
// the random numbers of an element are a half of a word of the lane's own block of Philox. First everything is read,
// then decoded: what is waited for is memory, all at once.
#pragma once
#include "cuda/device_tensors.h"
#include "cuda/fnn_cuda.h"
#include "cuda/reduce.cuh"
#include "math/dynamic8.h"
#include "math/random.h"
#include "math/rounding.h"

namespace fnn::cuda {

inline constexpr int kEach = 8;  // elements of a lane
inline constexpr std::int64_t kRun = 256;
static_assert(kRun == kBlock8 && kRun == cpu::kChunk && kRun == kWarp * kEach, "a run is a block with a scale");

// ---- tables of the 8-bit numbers: filled on the host, copied to shared memory where lanes look up different entries

struct Tables8 {
  struct Lines {
    float slope[8], offset[8], gain[8];
  };
  Lines lines[2];  // unsigned, signed
};

inline Tables8 tables8() {
  Tables8 tables;
  const auto fill = [](Tables8::Lines& to, const auto& from) {
    for (int i = 0; i < 8; ++i) {
      to.slope[i] = from.slope.entry[i];
      to.offset[i] = from.offset.entry[i];
      to.gain[i] = from.gain.entry[i];
    }
  };
  fill(tables.lines[0], kDynamic8Lines<false>);
  fill(tables.lines[1], kDynamic8Lines<true>);
  return tables;
}

struct ScaledTable {
  const float* entry;
  float factor;
};
__device__ inline float lookup(const ScaledTable& table, std::int32_t index) {
  return table.entry[index & 7] * table.factor;
}

// ---- where a run lies

struct RunPlace {
  const cpu::OptimizerTensor* tensor;
  std::int64_t number;  // of the tensor
  std::int64_t begin;   // of the run in the tensor
  std::int64_t at;      // the lane's first element
  int left[2];          // how many of its four elements there are, in either half

  __device__ bool has(int i) const { return i % 4 < left[i / 4]; }
};

// The piece of block `piece`, by a search for its tensor; `begin` is that of this thread's warp.
__device__ inline RunPlace find_run(const DeviceTensors& list, std::int64_t piece) {
  std::int64_t low = 0, high = list.tensor_count;  // low: a tensor that begins at or before the piece
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (list.first_piece[middle] <= piece ? low : high) = middle;
  }
  RunPlace place;
  place.tensor = list.tensors + low;
  place.number = low;
  place.begin = (piece - list.first_piece[low]) * kPiece + threadIdx.x / kWarp * kRun;
  place.at = place.begin + threadIdx.x % kWarp * 4;
  const std::int64_t rest = place.tensor->count - place.at;
  for (int half = 0; half < 2; ++half) {
    const std::int64_t left = rest - half * (kRun / 2);
    place.left[half] = static_cast<int>(left < 0 ? 0 : left > 4 ? 4 : left);
  }
  return place;
}

// ---- between memory and registers

__host__ __device__ inline int width_of(cpu::Format format) {
  if (format == cpu::Format::float32) return 4;
  return format == cpu::Format::bfloat16 || format == cpu::Format::float16 ? 2 : 1;
}

// A lane's elements as they lie in memory, one behind the other, each half's from word 0, 2 or 1 times its width on.
struct RawRun {
  std::uint32_t word[kEach] = {};

  __device__ std::uint32_t get(int width, int i) const {
    if (width == 4) return word[i];
    return width == 2 ? word[i / 2] >> 16 * (i % 2) & 0xffffu : word[i / 4] >> 8 * (i % 4) & 0xffu;
  }
  __device__ void put(int width, int i, std::uint32_t bits) {
    if (width == 4)
      word[i] = bits;
    else if (width == 2)
      word[i / 2] |= bits << 16 * (i % 2);
    else
      word[i / 4] |= bits << 8 * (i % 4);
  }
};

template <int kWidth>
__device__ inline void load_raw(const void* array, const RunPlace& place, RawRun& raw) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(array) % (4 * kWidth) == 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const char* from = static_cast<const char*>(array) + (place.at + half * (kRun / 2)) * kWidth;
    std::uint32_t* const to = raw.word + half * kWidth;
    if (aligned && place.left[half] == 4) {
      if constexpr (kWidth == 4) {
        const uint4 all = *reinterpret_cast<const uint4*>(from);
        to[0] = all.x, to[1] = all.y, to[2] = all.z, to[3] = all.w;
      } else if constexpr (kWidth == 2) {
        const uint2 all = *reinterpret_cast<const uint2*>(from);
        to[0] = all.x, to[1] = all.y;
      } else {
        to[0] = *reinterpret_cast<const std::uint32_t*>(from);
      }
      continue;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i >= place.left[half]) continue;
      if constexpr (kWidth == 4) to[i] = reinterpret_cast<const std::uint32_t*>(from)[i];
      if constexpr (kWidth == 2)
        raw.put(2, 4 * half + i, reinterpret_cast<const std::uint16_t*>(from)[i]);
      else if constexpr (kWidth == 1)
        raw.put(1, 4 * half + i, reinterpret_cast<const std::uint8_t*>(from)[i]);
    }
  }
}

template <int kWidth>
__device__ inline void store_raw(void* array, const RunPlace& place, const RawRun& raw) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(array) % (4 * kWidth) == 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    char* to = static_cast<char*>(array) + (place.at + half * (kRun / 2)) * kWidth;
    const std::uint32_t* const from = raw.word + half * kWidth;
    if (aligned && place.left[half] == 4) {
      if constexpr (kWidth == 4)
        *reinterpret_cast<uint4*>(to) = make_uint4(from[0], from[1], from[2], from[3]);
      else if constexpr (kWidth == 2)
        *reinterpret_cast<uint2*>(to) = make_uint2(from[0], from[1]);
      else
        *reinterpret_cast<std::uint32_t*>(to) = from[0];
      continue;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i >= place.left[half]) continue;
      const std::uint32_t bits = raw.get(kWidth, 4 * half + i);
      if constexpr (kWidth == 4) reinterpret_cast<std::uint32_t*>(to)[i] = bits;
      if constexpr (kWidth == 2) reinterpret_cast<std::uint16_t*>(to)[i] = static_cast<std::uint16_t>(bits);
      if constexpr (kWidth == 1) reinterpret_cast<std::uint8_t*>(to)[i] = static_cast<std::uint8_t>(bits);
    }
  }
}

__device__ inline void load_raw(int width, const void* array, const RunPlace& place, RawRun& raw) {
  if (width == 4)
    load_raw<4>(array, place, raw);
  else if (width == 2)
    load_raw<2>(array, place, raw);
  else
    load_raw<1>(array, place, raw);
}
__device__ inline void store_raw(int width, void* array, const RunPlace& place, const RawRun& raw) {
  if (width == 4)
    store_raw<4>(array, place, raw);
  else if (width == 2)
    store_raw<2>(array, place, raw);
  else
    store_raw<1>(array, place, raw);
}

}  // namespace fnn::cuda
