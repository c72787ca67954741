// __syncthreads and its variants, and the fences.
#pragma once
#include "scheduler.h"

#define CUEMU_LINE int line = __builtin_LINE()

namespace cuemu {

// Waits for the block; returns the sum of `vote` over its threads.
int block_barrier(int vote, int line);
// Lets the block's threads go on if all that are alive have come to the barrier.
void complete_barrier(Block& block);

}  // namespace cuemu

inline void __syncthreads(CUEMU_LINE) { cuemu::block_barrier(0, line); }
inline int __syncthreads_count(int predicate, CUEMU_LINE) { return cuemu::block_barrier(predicate != 0, line); }
inline int __syncthreads_or(int predicate, CUEMU_LINE) { return cuemu::block_barrier(predicate != 0, line) != 0; }
inline int __syncthreads_and(int predicate, CUEMU_LINE) { return cuemu::block_barrier(predicate == 0, line) == 0; }

// Memory is in order here; what a fence may not prevent is that another block comes in between.
inline void __threadfence() { cuemu::fence(); }
inline void __threadfence_block() {}
inline void __threadfence_system() { cuemu::fence(); }
inline void __nanosleep(unsigned) { cuemu::yield(); }
