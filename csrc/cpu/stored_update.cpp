#include "cpu/stored_update.h"

#include <cstddef>
#include <tuple>
#include <utility>

#include "cpu/block8.h"
#include "cpu/narrow.h"

namespace fnn::cpu {
namespace {

// ---- all bfloat16: pairs of neighbours, whose halves of 32 bits are two vectors without a permutation

struct Pair {
  Vec even, odd;
};
FNN_INLINE Pair load_pair(const std::uint16_t* p) {
  const VecInt both = as_int(load(reinterpret_cast<const float*>(p)));
  return {as_float(both << 16), as_float(both & ~0xffff)};
}
// A NaN that comes from bfloat16 numbers has 16 zeros at its end and needs no care.
FNN_INLINE VecInt rounded_up(Vec x) {
  const VecInt bits = as_int(x);
  return bits + ((bits >> 16) & 1) + 0x7fff;
}
FNN_INLINE void store_pair(std::uint16_t* p, Pair x) {
  const VecInt both = ((rounded_up(x.even) >> 16) & 0xffff) | (rounded_up(x.odd) & ~0xffff);
  store(reinterpret_cast<float*>(p), as_float(both));
}

template <class Rule, class Keep, class Prepare>
std::int64_t update_bfloat16(const OptimizerTensor& tensor, std::int64_t begin, std::int64_t end,
                             const typename Rule::Step step, const Keep keep, const Prepare prepare) {
  constexpr int kSlots = Rule::kSlots;
  const auto halves = [](const float* array) { return reinterpret_cast<std::uint16_t*>(const_cast<float*>(array)); };
  std::uint16_t *const param = halves(tensor.param), *const grad = halves(tensor.grad);
  std::uint16_t* state[kSlots + 1];
  for (int k = 0; k < kSlots; ++k) state[k] = halves(tensor.slots[k]);
  std::int64_t i = begin;
  for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
    const Pair p = load_pair(param + i), g = load_pair(grad + i);
    Vec even[kSlots + 1], odd[kSlots + 1];
    for (int k = 0; k < kSlots; ++k) {
      const Pair slot = load_pair(state[k] + i);
      even[k] = slot.even;
      odd[k] = slot.odd;
    }
    store_pair(param + i,
               {step(keep(p.even), prepare(p.even, g.even), even), step(keep(p.odd), prepare(p.odd, g.odd), odd)});
    for (int k = 0; k < kSlots; ++k) store_pair(state[k] + i, {even[k], odd[k]});
  }
  return i;
}

// ---- states of 8 bits

// The new states of a block, whose codes are written when the next block has been worked on: the largest of each is
// known then without a wait. (To do both in one loop gained nothing.)
template <class Rule>
struct Block {
  static constexpr int kSlots = Rule::kSlots;
  alignas(64) float values[kSlots][kBlock8];
  float largest[kSlots] = {};
  std::uint8_t* codes[kSlots] = {};
  float* scales[kSlots] = {};
  std::int64_t count = 0;

  void take(const OptimizerTensor& tensor, std::int64_t begin, std::int64_t elements) {
    count = elements;
    for (int k = 0; k < kSlots; ++k) {
      codes[k] = reinterpret_cast<std::uint8_t*>(tensor.slots[k]) + begin;
      scales[k] = tensor.scales[k] + begin / kBlock8;
    }
  }
};

template <class Rule, class Slots>
class BlockWriter;
template <class Rule, std::size_t... kSlot>
class BlockWriter<Rule, std::index_sequence<kSlot...>> {
 public:
  explicit BlockWriter(const Block<Rule>& block)
      : write_(block.largest[kSlot]...), codes_{block.codes[kSlot]...}, values_{block.values[kSlot]...} {}
  template <class Lanes>
  FNN_INLINE void operator()(std::int64_t i, Lanes lanes) const {
    (std::get<kSlot>(write_)(load(values_[kSlot] + i), codes_[kSlot] + i, lanes), ...);
  }
  void finish(const Block<Rule>& block) const {
    ((*block.scales[kSlot] = std::get<kSlot>(write_).finish(codes_[kSlot], block.count)), ...);
  }

 private:
  std::tuple<Writer8<((Rule::kSignedSlots >> kSlot) & 1) != 0>...> write_;
  std::uint8_t* codes_[sizeof...(kSlot)];
  const float* values_[sizeof...(kSlot)];
};

// In three loops: the scheduler of a processor holds a vector or two of all this work, too few to hide how long the way
// is from a code to the parameter.
template <class Rule, class Keep, class Prepare, std::size_t... kSlot>
FNN_INLINE void update_block(float* param, const float* grad, const typename Rule::Step& step, const Keep& keep,
                             const Prepare& prepare, Block<Rule>* block, std::index_sequence<kSlot...>) {
  const std::int64_t count = block->count;
  const auto read = [count](const auto reader, const std::uint8_t* codes, float* values) {
    for_lanes(0, count, [=](std::int64_t i, auto lanes) { store(values + i, reader(codes + i, lanes)); });
  };
  (read(Reader8<((Rule::kSignedSlots >> kSlot) & 1) != 0>(*block->scales[kSlot]), block->codes[kSlot],
        block->values[kSlot]),
   ...);
  float* const values[] = {block->values[kSlot]...};
  std::tuple<Largest<((Rule::kSignedSlots >> kSlot) & 1) != 0>...> largest;
  for_lanes(0, count, [&](std::int64_t i, auto lanes) {
    Vec slots[] = {load(values[kSlot] + i)...};
    const Vec p = load(param + i, lanes);
    const Vec g = prepare(p, load(grad + i, lanes));
    store(param + i, step(keep(p), g, slots), lanes);
    (store(values[kSlot] + i, slots[kSlot]), ...);
    (std::get<kSlot>(largest).add(slots[kSlot], lanes), ...);
  });
  ((block->largest[kSlot] = std::get<kSlot>(largest).value()), ...);
}

template <class Rule, class Keep, class Prepare>
void update_8bit(const TensorList& list, const OptimizerTensor& tensor, std::int64_t begin, std::int64_t end,
                 std::int64_t t, const typename Rule::Step step, const Keep keep, const Prepare prepare) {
  using Slots = std::make_index_sequence<Rule::kSlots>;
  using Writer = BlockWriter<Rule, Slots>;
  Block<Rule> blocks[2];
  int turn = 0;
  const auto write = [](const Block<Rule>& block) __attribute__((always_inline)) {
    if (block.count == 0) return;
    const Writer writer(block);
    for_lanes(0, block.count, [&](std::int64_t i, auto lanes) { writer(i, lanes); });
    writer.finish(block);
  };
  const auto body = [&](float* param, const float* grad, std::int64_t count) __attribute__((always_inline)) {
    Block<Rule>& block = blocks[turn];
    const Block<Rule>& before = blocks[turn ^= 1];
    block.take(tensor, begin, count);
    begin += count;
    update_block(param, grad, step, keep, prepare, &block, Slots());
    write(before);
  };
  const Formats& formats = list.formats;
  if (formats.param == Format::float32 && formats.grad == Format::float32) {
    while (begin < end) body(tensor.param + begin, tensor.grad + begin, std::min(kBlock8, end - begin));
  } else {
    const Access access{Access::kParam | Access::kGrad, Access::kParam, t};
    visit_elements(list, tensor, begin, end, access,
                   [&](const OptimizerTensor& view, const float* grad, std::int64_t first, std::int64_t count) {
                     body(view.param + first, grad, count);
                   });
  }
  write(blocks[turn ^ 1]);
}

template <class Rule>
bool all_bfloat16(const Formats& formats) {
  bool all = formats.param == Format::bfloat16 && formats.grad == Format::bfloat16;
  for (int k = 0; k < Rule::kSlots; ++k) all &= formats.slots[k] == Format::bfloat16;
  return all && formats.master == Master::none;
}

template <class Rule>
bool all_8bit(const Formats& formats) {
  bool all = Rule::kSlots > 0;
  for (int k = 0; k < Rule::kSlots; ++k) {
    const bool is_signed = ((Rule::kSignedSlots >> k) & 1) != 0;
    all &= formats.slots[k] == (is_signed ? Format::signed8 : Format::unsigned8);
  }
  return all;
}

}  // namespace

template <class Rule>
std::int64_t update_stored(const TensorList& list, const OptimizerTensor& tensor, const TensorStep<Rule>& numbers,
                           std::int64_t begin, std::int64_t end, std::int64_t t) {
  if (tensor.update != nullptr) return begin;
  if (all_bfloat16<Rule>(list.formats)) {
    with_preparation(numbers, [&](const auto& keep, const auto& prepare) {
      begin = update_bfloat16<Rule>(tensor, begin, end, numbers.step, keep, prepare);
    });
    return begin;
  }
  if constexpr (Rule::kSlots > 0) {
    if (all_8bit<Rule>(list.formats)) {
      with_preparation(numbers, [&](const auto& keep, const auto& prepare) {
        update_8bit<Rule>(list, tensor, begin, end, t, numbers.step, keep, prepare);
      });
      return end;
    }
  }
  return begin;
}

#define FNN_INSTANTIATE(...)                                                                                     \
  template std::int64_t update_stored(const TensorList&, const OptimizerTensor&, const TensorStep<__VA_ARGS__>&, \
                                      std::int64_t, std::int64_t, std::int64_t);
FNN_EACH_ELEMENTWISE_RULE(FNN_INSTANTIATE)

}  // namespace fnn::cpu
