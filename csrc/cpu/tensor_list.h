// The tensors of an optimizer's step, how their arrays are stored, and the walk over their elements as float32.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/tensor_update.h"

namespace fnn::cuda {
struct DeviceTensors;  // cuda/device_tensors.h
}

namespace fnn::cpu {

// Of integers as wide as a pointer, so that a kernel that holds them has no padding. signed8, unsigned8: with a scale
// for every 256 elements (math/dynamic8.h), states only.
enum class Format : std::int64_t { float32, bfloat16, float16, signed8, unsigned8 };

// How a param of 16 bits keeps what is too small for it: not at all; in a float32 of which it is the rounded copy; in
// the lower 16 bits of a float32 whose upper half it is, rounded (bfloat16 only); or on average, by rounding up as
// often as is right, at random.
enum class Master : std::int64_t { none, copy, remainder, stochastic };

// How the arrays of all tensors are stored: the pointers of an OptimizerTensor are only addresses where that isn't
// float32. An `update` is stored as a param.
struct Formats {
  Format param = Format::float32, grad = Format::float32, slots[kMaxSlots] = {};
  Master master = Master::none;
  std::uint64_t seed = 0;  // of the random rounding

  bool all_float32() const {
    bool same = param == Format::float32 && grad == Format::float32;
    for (const Format slot : slots) same &= slot == Format::float32;
    return same;
  }
};

// Non-owning view of a table of tensors.
struct TensorList {
  const OptimizerTensor* tensors;
  std::int64_t tensor_count, element_count;
  Formats formats = {};
  const cuda::DeviceTensors* device = nullptr;  // the same in a GPU's memory, where the arrays are in that
};

// Which arrays of a tensor a pass reads and which it writes; what it doesn't name has no place in the view it gets. A
// tensor with an `update` has that written for its param.
struct Access {
  static constexpr unsigned kParam = 1, kGrad = 2, kFirstSlot = 4;
  FNN_HD static constexpr unsigned slots(int count) { return ((1u << count) - 1u) * kFirstSlot; }

  unsigned read, written;
  std::int64_t step;  // number of the optimizer's step: rounding at random depends on it
};

// Elements that are worked on as float32 at a time; where threads meet within a tensor that isn't all float32.
inline constexpr std::int64_t kChunk = 256;

// A chunk of a tensor as float32: the arrays themselves where they are, else copies in the first-level cache.
class StagedChunk {
 public:
  StagedChunk(const TensorList& list, const OptimizerTensor& tensor, const Access& access)
      : list_(list), tensor_(tensor), access_(access), view_(tensor) {}

  // Elements [begin, begin + count), count <= kChunk; they are the view's first ones.
  const OptimizerTensor& load(std::int64_t begin, std::int64_t count);
  // Stores those that are written.
  void store(std::int64_t begin, std::int64_t count) const;

 private:
  void store_param(std::int64_t begin, std::int64_t count) const;

  const TensorList& list_;
  const OptimizerTensor& tensor_;
  const Access access_;
  OptimizerTensor view_;
  alignas(64) float param_[kChunk], grad_[kChunk], update_[kChunk], slots_[kMaxSlots][kChunk];
};

// Calls body(view, grad, first, count) so that it sees the elements [begin, end) of a tensor as float32, in order:
// those from view.param + first on (and slots, update), grad being the gradient of the first. Where all is float32, as
// one piece, the view being the tensor itself.
template <class Body>
void visit_elements(const TensorList& list, const OptimizerTensor& tensor, std::int64_t begin, std::int64_t end,
                    const Access& access, const Body& body) {
  if (list.formats.all_float32()) {
    body(tensor, tensor.grad + begin, begin, end - begin);
    return;
  }
  StagedChunk chunk(list, tensor, access);
  for (std::int64_t at = begin; at < end; at += kChunk) {
    const std::int64_t count = std::min(kChunk, end - at);
    const OptimizerTensor& view = chunk.load(at, count);
    body(view, view.grad, std::int64_t{0}, count);
    chunk.store(at, count);
  }
}

// Calls visit(tensor, begin, end) for each piece of a tensor in a worker's share of all elements.
template <class Visit>
void for_share(const TensorList& list, const Worker& worker, const Visit& visit) {
  const std::int64_t grain = list.formats.all_float32() ? 1 : kChunk;
  const Range mine = share(list.element_count, worker.rank, worker.size, 16);
  const OptimizerTensor *first = list.tensors, *last = list.tensors + list.tensor_count;
  const auto after = std::upper_bound(first, last, mine.begin,
                                      [](std::int64_t at, const OptimizerTensor& tensor) { return at < tensor.begin; });
  for (const OptimizerTensor* tensor = after > first ? after - 1 : first; tensor < last; ++tensor) {
    if (tensor->begin >= mine.end) break;
    const auto cut = [&](std::int64_t at) {  // at a whole chunk of the tensor
      return std::clamp((at - tensor->begin + grain - 1) / grain * grain, std::int64_t{0}, tensor->count);
    };
    const std::int64_t begin = cut(mine.begin), end = cut(mine.end);
    if (begin < end) visit(*tensor, begin, end);
  }
}

}  // namespace fnn::cpu
