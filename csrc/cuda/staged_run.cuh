// A lane's elements of a run as float32, read from what parameters, gradients and states are stored as, and written
// back: the device's counterpart of cpu/tensor_list.h's StagedChunk.
#pragma once
#include "cuda/stored_run.cuh"

namespace fnn::cuda {

using cpu::Access;
using cpu::Format;
using cpu::Master;

// ---- between what lies in memory and float32

template <bool kSigned>
__device__ inline void decode8(const RawRun& raw, const Tables8& tables, float scale, float (&to)[kEach]) {
  const Tables8::Lines& lines = tables.lines[kSigned];
  const ScaledTable slope{lines.slope, fabsf(scale)}, offset{lines.offset, fabsf(scale)};
#pragma unroll
  for (int i = 0; i < kEach; ++i)
    to[i] = dynamic8_value<kSigned, float>(static_cast<std::int32_t>(raw.get(1, i)), slope, offset);
}

// By all lanes of a warp. Returns the scale; see cpu/block8.h for blocks that aren't ordinary.
template <bool kSigned>
__device__ inline float encode8(const float (&from)[kEach], const RunPlace& place, const Tables8& tables, RawRun& raw) {
  std::uint32_t bits = 0;  // of magnitudes: NaN counts as more than infinity
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const std::uint32_t size = static_cast<std::uint32_t>(as_int(from[i])) & 0x7fffffffu;
    if (place.has(i) && size > bits) bits = size;
  }
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const std::uint32_t other = __shfl_xor_sync(kAllLanes, bits, offset);
    bits = other > bits ? other : bits;
  }
  constexpr float kMost = kDynamic8Lines<kSigned>.largest;
  const float largest = as_float(static_cast<std::int32_t>(bits));
  if (!(largest >= 0x1p-126f && largest < 3e38f)) return largest < 1.f ? 0.f : NAN;
  const float inverse = kMost / largest;
  const ScaledTable gain{tables.lines[kSigned].gain, 1.f};
#pragma unroll
  for (int i = 0; i < kEach; ++i)
    raw.put(1, i, static_cast<std::uint32_t>(dynamic8_code<kSigned>(place.has(i) ? from[i] * inverse : 0.f, gain)));
  return largest / kMost;
}

__device__ inline void decode(Format format, const RawRun& raw, float (&to)[kEach]) {
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (format == Format::float32)
      to[i] = as_float(static_cast<std::int32_t>(raw.word[i]));
    else if (format == Format::bfloat16)
      to[i] = bfloat16_to_float(static_cast<std::int32_t>(raw.get(2, i)));
    else
      to[i] = float16_to_float(static_cast<std::int32_t>(raw.get(2, i)));
  }
}

__device__ inline RawRun encode(Format format, const float (&from)[kEach]) {
  RawRun raw;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (format == Format::float32)
      raw.word[i] = static_cast<std::uint32_t>(as_int(from[i]));
    else if (format == Format::bfloat16)
      raw.put(2, i, static_cast<std::uint32_t>(float_to_bfloat16(from[i])) & 0xffffu);
    else
      raw.put(2, i, static_cast<std::uint32_t>(float_to_float16(from[i])) & 0xffffu);
  }
  return raw;
}

// Rounded at random: the low halves of a block of Philox for the lane's first half, the high ones for the second. The
// counter: the tensor, the step, the number of the block.
__device__ inline RawRun encode_at_random(Format format, const float (&from)[kEach], std::uint64_t seed,
                                          std::int64_t step, const RunPlace& place) {
  const std::uint64_t block = static_cast<std::uint64_t>(place.begin) / 8 + threadIdx.x % kWarp;
  const std::uint64_t t = static_cast<std::uint64_t>(step);
  const auto words = philox(
      PhiloxBlock<std::uint64_t>{{block, t, (t >> 32) ^ (block >> 32), static_cast<std::uint64_t>(place.number)}},
      seed);
  RawRun raw;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const auto random = static_cast<std::int32_t>(words.word[i % 4] >> 16 * (i / 4) & 0xffffu);
    const std::int32_t bits =
        format == Format::bfloat16 ? float_to_bfloat16(from[i], random) : float_to_float16(from[i], random);
    raw.put(2, i, static_cast<std::uint32_t>(bits) & 0xffffu);
  }
  return raw;
}

// ---- a lane's elements

// kFloat32: all arrays are float32, which the formats say too.
template <int kSlots, bool kFloat32>
struct StagedRun {
  float param[kEach], grad[kEach], slots[kSlots > 0 ? kSlots : 1][kEach];

  // What isn't read stays as it is; a param that is missing is 0.
  __device__ void load(const RunPlace& place, const cpu::Formats& formats, const Tables8& tables, unsigned read);
  // `result`: the param, or what a tensor with an `update` has in its stead. By all lanes of a warp.
  __device__ void store(const RunPlace& place, const cpu::Formats& formats, const Tables8& tables, unsigned written,
                        const float (&result)[kEach], std::int64_t step) const;

 private:
  __device__ static Format own(Format format) { return kFloat32 ? Format::float32 : format; }
  __device__ static void store_param(const RunPlace& place, const cpu::Formats& formats, const float (&result)[kEach],
                                     std::int64_t step);
};

template <int kSlots, bool kFloat32>
__device__ inline void StagedRun<kSlots, kFloat32>::load(const RunPlace& place, const cpu::Formats& formats,
                                                         const Tables8& tables, unsigned read) {
  const cpu::OptimizerTensor& tensor = *place.tensor;
  const Master master = kFloat32 ? Master::none : formats.master;
  const void* const source = master == Master::copy ? tensor.master : tensor.param;
  const bool reads_param = (read & Access::kParam) != 0 && source != nullptr;
  const Format param_format = master == Master::copy ? Format::float32 : own(formats.param);
  RawRun raw_param, raw_rest, raw_grad, raw_slots[kSlots > 0 ? kSlots : 1];
  float scales[kSlots > 0 ? kSlots : 1] = {};
  if (reads_param) load_raw(width_of(param_format), source, place, raw_param);
  if (reads_param && master == Master::remainder) load_raw<2>(tensor.master, place, raw_rest);
  if (read & Access::kGrad) load_raw(width_of(own(formats.grad)), tensor.grad, place, raw_grad);
#pragma unroll
  for (int k = 0; k < kSlots; ++k) {
    if ((read & Access::kFirstSlot << k) == 0) continue;
    const int width = width_of(own(formats.slots[k]));
    load_raw(width, tensor.slots[k], place, raw_slots[k]);
    if (width == 1) scales[k] = tensor.scales[k][place.begin / kRun];
  }
  if (!reads_param || master != Master::remainder) {
    decode(param_format, raw_param, param);
  } else {
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      param[i] = float_of_halves(static_cast<std::int32_t>(raw_param.get(2, i)),
                                 static_cast<std::int32_t>(static_cast<std::int16_t>(raw_rest.get(2, i))));
  }
  if (read & Access::kGrad) decode(own(formats.grad), raw_grad, grad);
#pragma unroll
  for (int k = 0; k < kSlots; ++k) {
    if ((read & Access::kFirstSlot << k) == 0) continue;
    const Format format = own(formats.slots[k]);
    if (format == Format::signed8)
      decode8<true>(raw_slots[k], tables, scales[k], slots[k]);
    else if (format == Format::unsigned8)
      decode8<false>(raw_slots[k], tables, scales[k], slots[k]);
    else
      decode(format, raw_slots[k], slots[k]);
  }
}

template <int kSlots, bool kFloat32>
__device__ inline void StagedRun<kSlots, kFloat32>::store(const RunPlace& place, const cpu::Formats& formats,
                                                          const Tables8& tables, unsigned written,
                                                          const float (&result)[kEach], std::int64_t step) const {
  const cpu::OptimizerTensor& tensor = *place.tensor;
  if (written & Access::kParam) store_param(place, formats, result, step);
#pragma unroll
  for (int k = 0; k < kSlots; ++k) {
    if ((written & Access::kFirstSlot << k) == 0) continue;
    const Format format = own(formats.slots[k]);
    if (format != Format::signed8 && format != Format::unsigned8) {
      store_raw(width_of(format), tensor.slots[k], place, encode(format, slots[k]));
      continue;
    }
    RawRun raw;
    const float scale = format == Format::signed8 ? encode8<true>(slots[k], place, tables, raw)
                                                  : encode8<false>(slots[k], place, tables, raw);
    store_raw<1>(tensor.slots[k], place, raw);
    __syncwarp();  // all lanes have read the old scale, which shuffles don't promise
    if (threadIdx.x % kWarp == 0) tensor.scales[k][place.begin / kRun] = scale;
  }
}

template <int kSlots, bool kFloat32>
__device__ inline void StagedRun<kSlots, kFloat32>::store_param(const RunPlace& place, const cpu::Formats& formats,
                                                                const float (&result)[kEach], std::int64_t step) {
  const cpu::OptimizerTensor& tensor = *place.tensor;
  const Format format = own(formats.param);
  const Master master = kFloat32 || tensor.update != nullptr ? Master::none : formats.master;
  void* const to = tensor.update != nullptr ? tensor.update : tensor.param;
  if (master == Master::stochastic) {
    store_raw<2>(to, place, encode_at_random(format, result, formats.seed, step, place));
  } else if (master == Master::remainder) {
    RawRun upper, lower;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const float value = quiet_nan(result[i]);
      upper.put(2, i, static_cast<std::uint32_t>(float_to_upper_half(value)) & 0xffffu);
      lower.put(2, i, static_cast<std::uint32_t>(as_int(value)) & 0xffffu);
    }
    store_raw<2>(to, place, upper);
    store_raw<2>(tensor.master, place, lower);
  } else {
    if (master == Master::copy) store_raw<4>(tensor.master, place, encode(Format::float32, result));
    store_raw(width_of(format), to, place, encode(format, result));
  }
}

}  // namespace fnn::cuda
