// Between the formats in memory and float32, one chunk of an array at a time.
#include "cpu/tensor_list.h"

#include "cpu/block8.h"
#include "cpu/narrow.h"
#include "cpu/philox.h"

namespace fnn::cpu {
namespace {

static_assert(kChunk == kBlock8, "a chunk is a block with a scale");

template <class T>
T* elements(const void* array, std::int64_t begin) {
  return static_cast<T*>(const_cast<void*>(array)) + begin;
}

template <class Float>
void load_halves(const std::uint16_t* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, Float::load(from + i));
  if (i < count) store_partial(to + i, Float::load(PartialNarrow(from + i, count - i).lanes), count - i);
}

// `random(i)`: the arguments of Float::store beside what is stored at i, none or a vector of random numbers.
template <class Float, class... Random>
void store_halves(const float* from, std::int64_t count, std::uint16_t* to, const Random&... random) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Float::store(to + i, load(from + i), random(i)...);
  if (i < count) {
    PartialNarrow<std::uint16_t> rest;
    Float::store(rest.lanes, load_partial(from + i, count - i), random(i)...);
    rest.copy(to + i, count - i);
  }
}

void load_with_rest(const std::uint16_t* upper, const std::int16_t* lower, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    store(to + i, float_of_halves(load_narrow(upper + i), load_narrow(lower + i)));
  if (i < count) {
    const PartialNarrow high(upper + i, count - i);
    const PartialNarrow low(lower + i, count - i);
    store_partial(to + i, float_of_halves(load_narrow(high.lanes), load_narrow(low.lanes)), count - i);
  }
}

void store_with_rest(const float* from, std::int64_t count, std::uint16_t* upper, std::int16_t* lower) {
  const auto split = [](Vec x, std::uint16_t* high, std::int16_t* low) {
    const Vec value = quiet_nan(x);
    store_narrow(high, float_to_upper_half(value));
    store_narrow(low, as_int(value));
  };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) split(load(from + i), upper + i, lower + i);
  if (i < count) {
    PartialNarrow<std::uint16_t> high;
    PartialNarrow<std::int16_t> low;
    split(load_partial(from + i, count - i), high.lanes, low.lanes);
    high.copy(upper + i, count - i);
    low.copy(lower + i, count - i);
  }
}

// 16 random bits for each element of a chunk: the low halves of half as many words of Philox for the first half of the
// elements, the high ones for the others. The counter: the tensor, the step, the number of the block.
class RandomChunk {
 public:
  RandomChunk(std::uint64_t seed, std::int64_t step, std::int64_t tensor, std::int64_t begin) {
    const VecU64 low(static_cast<std::uint64_t>(step)), high(static_cast<std::uint64_t>(step) >> 32);
    const VecU64 stream(static_cast<std::uint64_t>(tensor));
    VecU64 block = block_numbers(begin / 8);
    for (std::int64_t i = 0; i < kHalf; i += kPhiloxWords, block.v += kPhiloxBlocks) {
      const Words words = interleave(philox(PhiloxBlock<VecU64>{{block, low, high ^ (block >> 32), stream}}, seed));
      keep(i, words.low);
      keep(i + kLanes, words.high);
    }
  }
  VecInt operator()(std::int64_t i) const { return load_narrow(bits_ + i); }

 private:
  static constexpr std::int64_t kHalf = kChunk / 2;
  void keep(std::int64_t i, NativeI32 words) {
    store_narrow(bits_ + i, VecInt{words});
    store_narrow(bits_ + kHalf + i, VecInt{words} >> 16);
  }
  std::uint16_t bits_[kChunk];
};

// Elements from `begin` on as float32: where they lie, or in `buffer`, filled if they are `read`.
float* load_array(Format format, const float* array, const float* scales, std::int64_t begin, std::int64_t count,
                  bool read, float* buffer) {
  if (array == nullptr) return nullptr;
  if (format == Format::float32) return const_cast<float*>(array) + begin;
  if (!read) return buffer;
  const std::int64_t block = begin / kBlock8;
  if (format == Format::bfloat16) load_halves<BFloat16>(elements<std::uint16_t>(array, begin), count, buffer);
  if (format == Format::float16) load_halves<Float16>(elements<std::uint16_t>(array, begin), count, buffer);
  if (format == Format::signed8) load_block8<true>(elements<std::uint8_t>(array, begin), scales[block], count, buffer);
  if (format == Format::unsigned8)
    load_block8<false>(elements<std::uint8_t>(array, begin), scales[block], count, buffer);
  return buffer;
}

template <class... Random>
void store_array(Format format, const float* buffer, float* array, float* scales, std::int64_t begin,
                 std::int64_t count, const Random&... random) {
  const std::int64_t block = begin / kBlock8;
  if (format == Format::bfloat16)
    store_halves<BFloat16>(buffer, count, elements<std::uint16_t>(array, begin), random...);
  if (format == Format::float16) store_halves<Float16>(buffer, count, elements<std::uint16_t>(array, begin), random...);
  if (format == Format::signed8)
    scales[block] = store_block8<true>(buffer, count, elements<std::uint8_t>(array, begin));
  if (format == Format::unsigned8)
    scales[block] = store_block8<false>(buffer, count, elements<std::uint8_t>(array, begin));
}

}  // namespace

const OptimizerTensor& StagedChunk::load(std::int64_t begin, std::int64_t count) {
  const Formats& formats = list_.formats;
  const auto reads = [this](unsigned array) { return (access_.read & array) != 0; };
  if (formats.master == Master::copy) {
    view_.param = elements<float>(tensor_.master, begin);
  } else if (formats.master == Master::remainder) {
    view_.param = param_;
    const auto* lower = elements<std::int16_t>(tensor_.master, begin);
    if (reads(Access::kParam)) load_with_rest(elements<std::uint16_t>(tensor_.param, begin), lower, count, param_);
  } else {
    view_.param = load_array(formats.param, tensor_.param, nullptr, begin, count, reads(Access::kParam), param_);
  }
  view_.grad = load_array(formats.grad, tensor_.grad, nullptr, begin, count, reads(Access::kGrad), grad_);
  view_.update = load_array(formats.param, tensor_.update, nullptr, begin, count, false, update_);
  for (int k = 0; k < kMaxSlots; ++k) {
    const bool read = reads(Access::kFirstSlot << k);
    view_.slots[k] = load_array(formats.slots[k], tensor_.slots[k], tensor_.scales[k], begin, count, read, slots_[k]);
  }
  return view_;
}

void StagedChunk::store(std::int64_t begin, std::int64_t count) const {
  if (access_.written & Access::kParam) store_param(begin, count);
  for (int k = 0; k < kMaxSlots; ++k) {
    if (access_.written & (Access::kFirstSlot << k))
      store_array(list_.formats.slots[k], view_.slots[k], tensor_.slots[k], tensor_.scales[k], begin, count);
  }
}

void StagedChunk::store_param(std::int64_t begin, std::int64_t count) const {
  const Formats& formats = list_.formats;
  if (tensor_.update != nullptr) {
    store_array(formats.param, view_.update, tensor_.update, nullptr, begin, count);
  } else if (formats.master == Master::remainder) {
    store_with_rest(view_.param, count, elements<std::uint16_t>(tensor_.param, begin),
                    elements<std::int16_t>(tensor_.master, begin));
  } else if (formats.master == Master::stochastic) {
    const RandomChunk random(formats.seed, access_.step, &tensor_ - list_.tensors, begin);
    store_array(formats.param, view_.param, tensor_.param, nullptr, begin, count, random);
  } else {
    store_array(formats.param, view_.param, tensor_.param, nullptr, begin, count);
  }
}

}  // namespace fnn::cpu
