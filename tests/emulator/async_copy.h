// Asynchronous copies from global into shared memory (cp.async): __pipeline_memcpy_async and its groups.
//
// A copy takes place when it is called or when its group is waited for, by chance: kernels that read too early, or
// write where someone still reads, are found in one order or the other. With seed 0 it takes place at the wait.
#pragma once
#include <cstddef>

namespace cuemu {

void copy_async(void* to, const void* from, std::size_t size, std::size_t zeros, void* instruction);
void commit_copies();
void wait_for_copies(std::size_t newest);

}  // namespace cuemu

// Copies size - zeros bytes and sets the last `zeros` to 0.
__attribute__((noinline)) inline void __pipeline_memcpy_async(void* to, const void* from, std::size_t size,
                                                              std::size_t zeros = 0) {
  cuemu::copy_async(to, from, size, zeros, __builtin_return_address(0));
}
inline void __pipeline_commit() { cuemu::commit_copies(); }
inline void __pipeline_wait_prior(std::size_t newest) { cuemu::wait_for_copies(newest); }
