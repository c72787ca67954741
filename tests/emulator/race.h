// The race detector: for every byte that threads touch, who wrote it and who read it last.
//
// Kernels compiled with -fsanitize=thread call a hook at every access; race_hooks.cpp has the hooks, libtsan isn't
// linked. Two accesses to a byte, one of them a write, race unless a __syncthreads or (within a warp) a __syncwarp lies
// between them; blocks of a run are never ordered, and two atomics never race.
#pragma once
#include <cstddef>

namespace cuemu {

enum class Access { kRead, kWrite, kAtomic };

void record_access(void* address, std::size_t size, Access access, void* instruction);
void forget_accesses();

}  // namespace cuemu
