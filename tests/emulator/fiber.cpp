#include "fiber.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

// Saves the registers that a call must keep on the stack, the stack pointer in *save, and goes on at `to`.
extern "C" void cuemu_switch(void** save, void* to);

#if defined(__x86_64__)
asm(R"(
.text
.hidden cuemu_switch
.globl cuemu_switch
.type cuemu_switch, @function
cuemu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuemu_switch, .-cuemu_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.hidden cuemu_switch
.globl cuemu_switch
.type cuemu_switch, %function
cuemu_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size cuemu_switch, .-cuemu_switch
)");
#else
#error "The emulator knows the registers of x86-64 and aarch64 only."
#endif

#ifdef CUEMU_ASAN
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** old_bottom, std::size_t* old_size);
void __asan_unpoison_memory_region(const volatile void* address, std::size_t size);
}
#else
static void __sanitizer_start_switch_fiber(void**, const void*, std::size_t) {}
static void __sanitizer_finish_switch_fiber(void*, const void**, std::size_t*) {}
static void __asan_unpoison_memory_region(const volatile void*, std::size_t) {}
#endif

namespace cuemu {
namespace {

constexpr std::size_t kPoolStacks = 1024;  // as many as a block may have threads

struct {
  void* stack_pointer = nullptr;
  void* fake_stack = nullptr;
  const void* bottom = nullptr;
  std::size_t size = 0;
} scheduler;

}  // namespace

char* Stacks::take() {
  if (free_.empty()) {
    void* pool = mmap(nullptr, kStackBytes * kPoolStacks, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool == MAP_FAILED) throw std::bad_alloc();
    pools_.push_back(static_cast<char*>(pool));
    for (std::size_t i = kPoolStacks; i--;) free_.push_back(pools_.back() + i * kStackBytes);
  }
  char* stack = free_.back();
  free_.pop_back();
  return stack;
}

void Stacks::give_back(char* stack) {
  __asan_unpoison_memory_region(stack, kStackBytes);  // its frames may not have been left in order
  free_.push_back(stack);
}

bool Stacks::hold(const void* address) const {
  for (const char* pool : pools_) {
    if (address >= pool && address < pool + kStackBytes * kPoolStacks) return true;
  }
  return false;
}

void prepare(Fiber& fiber, char* stack, void (*entry)()) {
  fiber.stack = stack;
  void** top = reinterpret_cast<void**>(stack + kStackBytes);
#if defined(__x86_64__)
  top[-1] = nullptr;  // where `entry` would return to, so that it finds the stack aligned as after a call
  top[-2] = reinterpret_cast<void*>(entry);
  fiber.stack_pointer = top - 8;
#else
  top[-20 + 11] = reinterpret_cast<void*>(entry);  // x30
  fiber.stack_pointer = top - 20;
#endif
}

void enter(Fiber& fiber) {
  __sanitizer_start_switch_fiber(&scheduler.fake_stack, fiber.stack, kStackBytes);
  cuemu_switch(&scheduler.stack_pointer, fiber.stack_pointer);
  __sanitizer_finish_switch_fiber(scheduler.fake_stack, nullptr, nullptr);
}

void leave(Fiber& fiber, bool forever) {
  __sanitizer_start_switch_fiber(forever ? nullptr : &fiber.fake_stack, scheduler.bottom, scheduler.size);
  cuemu_switch(&fiber.stack_pointer, scheduler.stack_pointer);
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &scheduler.bottom, &scheduler.size);
}

void arrived_first() { __sanitizer_finish_switch_fiber(nullptr, &scheduler.bottom, &scheduler.size); }

}  // namespace cuemu
