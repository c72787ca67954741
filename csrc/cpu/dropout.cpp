#include "cpu/dropout.h"

#include <algorithm>

#include "cpu/for_each.h"
#include "cpu/philox.h"

namespace fnn::cpu {

void Dropout::operator()(const Worker& worker) const {
  const float* in = x;
  float* out = y;
  const std::uint64_t key = state[0], step = state[1];
  const NativeI32 threshold = bernoulli_threshold(rate) + NativeI32{};
  const Vec kept(rate < 1.0 ? static_cast<float>(1.0 / (1.0 - rate)) : 0.f), dropped(0.f);
  const Range mine = share(count, worker.rank, worker.size, 32);
  const VecU64 low(step), high(step >> 32), streams(std::uint64_t{stream});
  VecU64 block = block_numbers(mine.begin / 4);
  for (std::int64_t i = mine.begin; i < mine.end; i += kPhiloxWords, block.v += kPhiloxBlocks) {
    // A counter has one word for the block; its overflow beyond 2^34 elements goes to the high word of the step.
    const PhiloxBlock<VecU64> counter = {{block, low, high ^ (block >> 32), streams}};
    const Words words = interleave(philox(counter, key));
    const auto first = [&](Vec v) { return v * select(VecInt{words.low < threshold}, dropped, kept); };
    const auto second = [&](Vec v) { return v * select(VecInt{words.high < threshold}, dropped, kept); };
    if (i + kPhiloxWords <= mine.end) {
      store(out + i, first(load(in + i)));
      store(out + i + kLanes, second(load(in + i + kLanes)));
    } else {
      map(i, std::min(i + kLanes, mine.end), out, first, in);
      map(i + kLanes, mine.end, out, second, in);
    }
  }
}

}  // namespace fnn::cpu
