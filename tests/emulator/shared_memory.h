// Shared memory: a heap block of the exact size for each array of each block, which holds 0xFF (NaN, -1) at first.
//
// A plain `__shared__ T x[N]` can't be used: it would have to be a static local, and g++ drops the section attribute of
// those in templates, so that they could be neither filled nor told apart.
#pragma once
#include <cstddef>

#include "scheduler.h"

#define FNN_SHARED(T, name, ...)        \
  static char name##_place_;            \
  using name##_shared_ = T __VA_ARGS__; \
  name##_shared_& name = *static_cast<name##_shared_*>(cuemu::static_shared(&name##_place_, sizeof(name##_shared_)))
#define FNN_DYN_SHARED(T, name) T* const name = static_cast<T*>(cuemu::dynamic_shared())

namespace cuemu {

inline constexpr std::size_t kStaticSharedLimit = 48 << 10;  // bytes
std::size_t shared_limit();                                  // sm_90's; CUEMU_SHARED_LIMIT says another one

void* static_shared(const void* place, std::size_t bytes);
void* dynamic_shared();

void allocate_dynamic(Block& block, std::size_t bytes);
void free_shared(Block& block);
bool is_shared(const Block& block, const void* address);

}  // namespace cuemu
