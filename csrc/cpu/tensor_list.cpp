// Between the formats in memory and float32, one chunk of an array at a time.
#include "cpu/tensor_list.h"

#include "cpu/narrow.h"

namespace fnn::cpu {
namespace {

std::uint16_t* halves(const float* array, std::int64_t begin) {
  return reinterpret_cast<std::uint16_t*>(const_cast<float*>(array)) + begin;
}

template <class Float>
void load_halves(const std::uint16_t* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, Float::load(from + i));
  for (; i < count; ++i) to[i] = Float::load_one(from[i]);
}

template <class Float>
void store_halves(const float* from, std::int64_t count, std::uint16_t* to) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Float::store(to + i, load(from + i));
  for (; i < count; ++i) to[i] = Float::store_one(from[i]);
}

// Elements from `begin` on as float32: where they lie, or in `buffer`, filled if they are `read`.
float* load_array(Format format, const float* array, std::int64_t begin, std::int64_t count, bool read, float* buffer) {
  if (array == nullptr) return nullptr;
  if (format == Format::float32) return const_cast<float*>(array) + begin;
  if (read && format == Format::bfloat16) load_halves<BFloat16>(halves(array, begin), count, buffer);
  if (read && format == Format::float16) load_halves<Float16>(halves(array, begin), count, buffer);
  return buffer;
}

void store_array(Format format, const float* buffer, float* array, std::int64_t begin, std::int64_t count) {
  if (format == Format::bfloat16) store_halves<BFloat16>(buffer, count, halves(array, begin));
  if (format == Format::float16) store_halves<Float16>(buffer, count, halves(array, begin));
}

}  // namespace

const OptimizerTensor& StagedChunk::load(std::int64_t begin, std::int64_t count) {
  const auto reads = [this](unsigned array) { return (access_.read & array) != 0; };
  view_.param = load_array(formats_.param, tensor_.param, begin, count, reads(Access::kParam), param_);
  view_.grad = load_array(formats_.grad, tensor_.grad, begin, count, reads(Access::kGrad), grad_);
  view_.update = load_array(formats_.param, tensor_.update, begin, count, false, update_);
  for (int k = 0; k < kMaxSlots; ++k) {
    const bool read = reads(Access::kFirstSlot << k);
    view_.slots[k] = load_array(formats_.slots[k], tensor_.slots[k], begin, count, read, slots_[k]);
  }
  return view_;
}

void StagedChunk::store(std::int64_t begin, std::int64_t count) const {
  const auto writes = [this](unsigned array) { return (access_.written & array) != 0; };
  if (writes(Access::kParam)) {
    const bool update = tensor_.update != nullptr;
    store_array(formats_.param, update ? view_.update : view_.param, update ? tensor_.update : tensor_.param, begin,
                count);
  }
  for (int k = 0; k < kMaxSlots; ++k) {
    if (writes(Access::kFirstSlot << k)) {
      store_array(formats_.slots[k], view_.slots[k], tensor_.slots[k], begin, count);
    }
  }
}

}  // namespace fnn::cpu
