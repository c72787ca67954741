#include "async_copy.h"

#include <cstdint>
#include <cstring>

#include "race.h"
#include "scheduler.h"

namespace cuemu {
namespace {

void carry_out(const PendingCopy& copy) {
  std::memcpy(copy.to, copy.from, copy.size - copy.zeros);
  std::memset(static_cast<char*>(copy.to) + (copy.size - copy.zeros), 0, copy.zeros);
}

}  // namespace

void copy_async(void* to, const void* from, std::size_t size, std::size_t zeros, void* instruction) {
  Thread& thread = *current();
  const bool size_is_legal = (size == 4 || size == 8 || size == 16) && zeros <= size;
  const bool aligned = (reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from)) % size == 0;
  if (!size_is_legal || !aligned) report("asynchronous copy of wrong size or alignment: " + place_of(thread));
#ifdef CUEMU_RACE
  record_access(const_cast<void*>(from), size - zeros, Access::kRead, instruction);
  record_access(to, size, Access::kWrite, instruction);
#else
  (void)instruction;
#endif
  thread.copies.push_back({to, from, size, zeros, thread.copy_groups});
  if (seed() && random_number() % 2) {
    carry_out(thread.copies.back());
    thread.copies.pop_back();
  }
}

void commit_copies() { ++current()->copy_groups; }

void wait_for_copies(std::size_t newest) {
  Thread& thread = *current();
  const int first_open = thread.copy_groups - static_cast<int>(newest);
  std::size_t kept = 0;
  for (const PendingCopy& copy : thread.copies) {
    if (copy.group < first_open) {
      carry_out(copy);
    } else {
      thread.copies[kept++] = copy;
    }
  }
  thread.copies.resize(kept);
}

}  // namespace cuemu
