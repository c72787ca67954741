// What g++ -fsanitize=thread calls at every access. Hidden, so that they serve this extension alone.
#ifdef CUEMU_RACE
#include "race.h"

#pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"

using cuemu::Access;
using cuemu::record_access;

#define CUEMU_HOOK extern "C" __attribute__((visibility("hidden"))) void
#define CUEMU_HOOKS(size)                                                      \
  CUEMU_HOOK __tsan_read##size(void* address) {                                \
    record_access(address, size, Access::kRead, __builtin_return_address(0));  \
  }                                                                            \
  CUEMU_HOOK __tsan_write##size(void* address) {                               \
    record_access(address, size, Access::kWrite, __builtin_return_address(0)); \
  }                                                                            \
  CUEMU_HOOK __tsan_unaligned_read##size(void* address) {                      \
    record_access(address, size, Access::kRead, __builtin_return_address(0));  \
  }                                                                            \
  CUEMU_HOOK __tsan_unaligned_write##size(void* address) {                     \
    record_access(address, size, Access::kWrite, __builtin_return_address(0)); \
  }

// Of volatile memory: --param tsan-distinguish-volatile=1.
#define CUEMU_VOLATILE_HOOKS(size)                                                     \
  CUEMU_HOOK __tsan_volatile_read##size(void* address) {                               \
    record_access(address, size, Access::kVolatileRead, __builtin_return_address(0));  \
  }                                                                                    \
  CUEMU_HOOK __tsan_volatile_write##size(void* address) {                              \
    record_access(address, size, Access::kVolatileWrite, __builtin_return_address(0)); \
  }                                                                                    \
  CUEMU_HOOK __tsan_unaligned_volatile_read##size(void* address) {                     \
    record_access(address, size, Access::kVolatileRead, __builtin_return_address(0));  \
  }                                                                                    \
  CUEMU_HOOK __tsan_unaligned_volatile_write##size(void* address) {                    \
    record_access(address, size, Access::kVolatileWrite, __builtin_return_address(0)); \
  }

CUEMU_HOOKS(1)
CUEMU_HOOKS(2)
CUEMU_HOOKS(4)
CUEMU_HOOKS(8)
CUEMU_HOOKS(16)
CUEMU_VOLATILE_HOOKS(1)
CUEMU_VOLATILE_HOOKS(2)
CUEMU_VOLATILE_HOOKS(4)
CUEMU_VOLATILE_HOOKS(8)
CUEMU_VOLATILE_HOOKS(16)
CUEMU_HOOK __tsan_read_range(void* address, std::size_t size) {
  record_access(address, size, Access::kRead, __builtin_return_address(0));
}
CUEMU_HOOK __tsan_write_range(void* address, std::size_t size) {
  record_access(address, size, Access::kWrite, __builtin_return_address(0));
}
CUEMU_HOOK __tsan_init() {}
CUEMU_HOOK __tsan_func_entry(void*) {}
CUEMU_HOOK __tsan_func_exit() {}
CUEMU_HOOK __tsan_vptr_update(void*, void*) {}
CUEMU_HOOK __tsan_vptr_read(void*) {}

// What the library's own atomics become, in host code: there is one thread.
#define CUEMU_ATOMIC_HOOK(bits, type)                                                                                  \
  extern "C" __attribute__((visibility("hidden"))) type __tsan_atomic##bits##_load(const volatile type* from, int) {   \
    return *from;                                                                                                      \
  }                                                                                                                    \
  CUEMU_HOOK __tsan_atomic##bits##_store(volatile type* to, type value, int) { *to = value; }                          \
  extern "C" __attribute__((visibility("hidden"))) type __tsan_atomic##bits##_fetch_add(volatile type* to, type value, \
                                                                                        int) {                         \
    const type old = *to;                                                                                              \
    *to = static_cast<type>(old + value);                                                                              \
    return old;                                                                                                        \
  }
CUEMU_ATOMIC_HOOK(8, unsigned char)
CUEMU_ATOMIC_HOOK(32, unsigned)
CUEMU_ATOMIC_HOOK(64, unsigned long)
#endif
