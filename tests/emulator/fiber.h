// Fibers: a stack each, and the switch between them and the scheduler. Nothing here knows about CUDA.
#pragma once
#include <cstddef>
#include <vector>

namespace cuemu {

inline constexpr std::size_t kStackBytes = 128 << 10;

struct Fiber {
  void* stack_pointer = nullptr;  // where it stopped; null before its first run
  char* stack = nullptr;
  void* fake_stack = nullptr;  // AddressSanitizer's, for this fiber
};

// Memory for stacks, mapped in pools and used again.
class Stacks {
 public:
  char* take();
  void give_back(char* stack);
  // Whether the address lies in a fiber's stack: what a thread keeps for itself.
  bool hold(const void* address) const;

 private:
  std::vector<char*> free_, pools_;
};

// Makes `fiber` call `entry` on `stack` when it is entered first.
void prepare(Fiber& fiber, char* stack, void (*entry)());
// From the scheduler into the fiber, until that leaves.
void enter(Fiber& fiber);
// From the fiber to the scheduler, until that enters it again; `forever` where the fiber has ended.
void leave(Fiber& fiber, bool forever);
// The first thing that `entry` must do.
void arrived_first();

}  // namespace cuemu
