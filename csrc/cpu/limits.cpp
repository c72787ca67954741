#include "cpu/limits.h"

#include <cstring>

namespace fnn::cpu {

void MultiplyAddLoop::operator()(const Worker& worker) const {
  Vec chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = Vec(static_cast<float>(i));
  const Vec factor(0.5f), term(1.f);  // tends to 2: never an infinity or a denormal, which some units take longer for
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (int i = 0; i < kChains; ++i) chains[i] = chains[i] * factor + term;
  }
  Vec sum = chains[0];
  for (int i = 1; i < kChains; ++i) sum += chains[i];
  out[worker.rank] = reduce_add(sum);  // or the compiler would drop the loop
}

void CopyLoop::operator()(const Worker& worker) const {
  const Range mine = share(count, worker.rank, worker.size, 16);
  for (std::int64_t round = 0; round < rounds; ++round) {
    std::memcpy(y + mine.begin, x + mine.begin, static_cast<std::size_t>(mine.size()) * sizeof(float));
  }
}

void ScaleLoop::operator()(const Worker& worker) const {
  const Range mine = share(count, worker.rank, worker.size, kLanes);
  const Vec factor(scale);
  for (std::int64_t round = 0; round < rounds; ++round) {
    std::int64_t i = mine.begin;
    for (; i + 4 * kLanes <= mine.end; i += 4 * kLanes) {
      for (int part = 0; part < 4; ++part) store(x + i + part * kLanes, load(x + i + part * kLanes) * factor);
    }
    for (; i < mine.end; ++i) x[i] *= scale;
  }
}

void PushLoop::operator()(const Worker& worker) const {
  const Range mine = share(count, worker.rank, worker.size, kLanes);
  const auto sum_and_push = [&](std::int64_t i) {
    Vec sum = load(arrays[0] + i);
    for (int a = 1; a < array_count; ++a) sum += load(arrays[a] + i);
    for (int a = 0; a < array_count; ++a) store(arrays[a] + i, sum);
  };
  const auto sum_and_push_two = [&](std::int64_t i) {  // the usual number: without a loop
    const Vec sum = load(arrays[0] + i) + load(arrays[1] + i);
    store(arrays[0] + i, sum);
    store(arrays[1] + i, sum);
  };
  for (std::int64_t round = 0; round < rounds; ++round) {
    std::int64_t i = mine.begin;
    if (array_count == 2) {
      for (; i + kLanes <= mine.end; i += kLanes) sum_and_push_two(i);
    }
    for (; i + kLanes <= mine.end; i += kLanes) sum_and_push(i);
    for (; i < mine.end; ++i) {
      float sum = arrays[0][i];
      for (int a = 1; a < array_count; ++a) sum += arrays[a][i];
      for (int a = 0; a < array_count; ++a) arrays[a][i] = sum;
    }
  }
}

}  // namespace fnn::cpu
