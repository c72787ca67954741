// Atomics: read, compute, write, with nobody in between; before that another thread may come.
#pragma once
#include "race.h"
#include "scheduler.h"

#ifdef CUEMU_ASAN
#define CUEMU_TOUCH(address) ((void)*reinterpret_cast<const volatile char*>(address))  // where ASan sees it
#else
#define CUEMU_TOUCH(address) ((void)0)
#endif

namespace cuemu {

template <class T>
struct Same {
  using type = T;
};

template <class T, class Operation>
__attribute__((noinline, no_sanitize("thread", "address"))) T atomically(T* address, Operation operation) {
  maybe_yield();
#ifdef CUEMU_RACE
  record_access(address, sizeof(T), Access::kAtomic, __builtin_return_address(0));
#endif
  const T old = *address;
  *address = operation(old);
  return old;
}

}  // namespace cuemu

#define CUEMU_ATOMIC(name, expression)                                                                          \
  template <class T>                                                                                            \
  T name(T* address, typename cuemu::Same<T>::type value) {                                                     \
    CUEMU_TOUCH(address);                                                                                       \
    return cuemu::atomically(                                                                                   \
        address, [value](T old) __attribute__((no_sanitize("thread", "address"))) -> T { return expression; }); \
  }

CUEMU_ATOMIC(atomicAdd, T(old + value))
CUEMU_ATOMIC(atomicSub, T(old - value))
CUEMU_ATOMIC(atomicMax, old < value ? value : old)
CUEMU_ATOMIC(atomicMin, value < old ? value : old)
CUEMU_ATOMIC(atomicExch, (void(old), value))
CUEMU_ATOMIC(atomicAnd, T(old& value))
CUEMU_ATOMIC(atomicOr, T(old | value))
CUEMU_ATOMIC(atomicXor, T(old ^ value))
CUEMU_ATOMIC(atomicInc, old >= value ? T(0) : T(old + 1))

template <class T>
T atomicCAS(T* address, typename cuemu::Same<T>::type expected, typename cuemu::Same<T>::type value) {
  CUEMU_TOUCH(address);
  return cuemu::atomically(address, [=](T old) __attribute__((no_sanitize("thread", "address"))) -> T {
    return old == expected ? value : old;
  });
}

#define atomicAdd_block atomicAdd
#define atomicAdd_system atomicAdd
#define atomicExch_block atomicExch
#define atomicExch_system atomicExch
#define atomicCAS_block atomicCAS
#define atomicCAS_system atomicCAS
#define atomicMax_system atomicMax
