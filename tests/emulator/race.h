// The race detector: for every byte that threads touch, who wrote it and who read it last.
//
// Kernels compiled with -fsanitize=thread call a hook at every access; race_hooks.cpp has the hooks, libtsan isn't
// linked. Two accesses to a byte, one of them a write, race unless something orders them: within a block a
// __syncthreads and within a warp a __syncwarp; between blocks a flag, which one thread sets by an atomic (or a
// volatile write) after a fence and another one sees by an atomic (or a volatile read). Two atomics never race.
#pragma once
#include <cstddef>

namespace cuemu {

enum class Access { kRead, kWrite, kAtomic, kVolatileRead, kVolatileWrite };

void record_access(void* address, std::size_t size, Access access, void* instruction);
void forget_accesses();

}  // namespace cuemu
