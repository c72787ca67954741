// Warp collectives: shuffles, votes, sums and __syncwarp. A lane that does not take part gives 0xFF bytes.
#pragma once
#include <cstdint>

#include "barriers.h"
#include "scheduler.h"

namespace cuemu {

enum class Kind { kSync, kShuffle, kShuffleUp, kShuffleDown, kShuffleXor, kBallot, kReduce };

// Meets the lanes of `mask` and takes the value that lane `source` brought.
void exchange(std::uint32_t mask, Kind kind, const void* value, void* result, std::size_t size, int source, int line);
// Meets the lanes of `mask`; all[lane] is what each lane brought. Returns the lanes that came.
std::uint32_t gather(std::uint32_t mask, Kind kind, std::uint32_t value, std::uint32_t all[32], int line);
// The lanes of __activemask(): those that are alive, since any of them may run in step with the caller.
std::uint32_t active_lanes();
int current_lane();
// Ends the meetings of a warp whose lanes have all come or ended.
void complete_meetings(Block& block, int warp);

template <class T>
T shuffle(std::uint32_t mask, Kind kind, T value, int source, int line) {
  static_assert(sizeof(T) <= 16, "a shuffle moves 16 bytes at most here");
  T result;
  exchange(mask, kind, &value, &result, sizeof(T), source, line);
  return result;
}

template <class T, class Operation>
T reduce(std::uint32_t mask, T value, Operation operation, int line) {
  std::uint32_t all[32];
  const std::uint32_t came = gather(mask, Kind::kReduce, static_cast<std::uint32_t>(value), all, line);
  bool first = true;
  T result{};
  for (int lane = 0; lane < 32; ++lane) {
    if (!(came >> lane & 1)) continue;
    result = first ? static_cast<T>(all[lane]) : operation(result, static_cast<T>(all[lane]));
    first = false;
  }
  return result;
}

}  // namespace cuemu

inline void __syncwarp(std::uint32_t mask = ~0u, CUEMU_LINE) {
  char nothing = 0;
  cuemu::exchange(mask, cuemu::Kind::kSync, &nothing, &nothing, 1, cuemu::current_lane(), line);
}

template <class T>
T __shfl_sync(std::uint32_t mask, T value, int source, int width = 32, CUEMU_LINE) {
  const int lane = cuemu::current_lane();
  return cuemu::shuffle(mask, cuemu::Kind::kShuffle, value, (lane & ~(width - 1)) | (source & (width - 1)), line);
}
template <class T>
T __shfl_up_sync(std::uint32_t mask, T value, unsigned delta, int width = 32, CUEMU_LINE) {
  const int lane = cuemu::current_lane(), source = lane - static_cast<int>(delta);
  return cuemu::shuffle(mask, cuemu::Kind::kShuffleUp, value, source < (lane & ~(width - 1)) ? lane : source, line);
}
template <class T>
T __shfl_down_sync(std::uint32_t mask, T value, unsigned delta, int width = 32, CUEMU_LINE) {
  const int lane = cuemu::current_lane(), source = lane + static_cast<int>(delta);
  return cuemu::shuffle(mask, cuemu::Kind::kShuffleDown, value, source > (lane | (width - 1)) ? lane : source, line);
}
template <class T>
T __shfl_xor_sync(std::uint32_t mask, T value, int bits, int width = 32, CUEMU_LINE) {
  const int lane = cuemu::current_lane(), source = lane ^ bits;
  return cuemu::shuffle(mask, cuemu::Kind::kShuffleXor, value, source > (lane | (width - 1)) ? lane : source, line);
}

inline std::uint32_t __ballot_sync(std::uint32_t mask, int predicate, CUEMU_LINE) {
  std::uint32_t all[32], votes = 0;
  const std::uint32_t came = cuemu::gather(mask, cuemu::Kind::kBallot, predicate != 0, all, line);
  for (int lane = 0; lane < 32; ++lane) {
    if (came >> lane & 1) votes |= all[lane] << lane;
  }
  return votes;
}
inline int __any_sync(std::uint32_t mask, int predicate, CUEMU_LINE) {
  return __ballot_sync(mask, predicate, line) != 0;
}
inline int __all_sync(std::uint32_t mask, int predicate, CUEMU_LINE) {
  return __ballot_sync(mask, !predicate, line) == 0;
}
inline std::uint32_t __activemask() { return cuemu::active_lanes(); }

template <class T>
T __reduce_add_sync(std::uint32_t mask, T value, CUEMU_LINE) {
  return cuemu::reduce(mask, value, [](T a, T b) { return a + b; }, line);
}
template <class T>
T __reduce_max_sync(std::uint32_t mask, T value, CUEMU_LINE) {
  return cuemu::reduce(mask, value, [](T a, T b) { return a < b ? b : a; }, line);
}
template <class T>
T __reduce_min_sync(std::uint32_t mask, T value, CUEMU_LINE) {
  return cuemu::reduce(mask, value, [](T a, T b) { return b < a ? b : a; }, line);
}
