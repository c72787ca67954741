#include "hidden_memory.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>

namespace cuemu {
namespace {

struct {
  void* address = nullptr;  // of whole pages
  std::size_t bytes = 0;
  int revealed = 0;
} region;

void protect(int how) {
  if (region.address && mprotect(region.address, region.bytes, how) != 0) std::abort();
}

}  // namespace

Revealed::Revealed() {
  if (region.revealed++ == 0) protect(PROT_READ | PROT_WRITE);
}

Revealed::~Revealed() {
  if (--region.revealed == 0) protect(PROT_NONE);
}

}  // namespace cuemu

// For the tests, which call these by their names: hides pages, or (null) shows what was hidden.
extern "C" __attribute__((visibility("default"))) void cuemu_hide(void* address, std::size_t bytes) {
  if (!address) cuemu::protect(PROT_READ | PROT_WRITE);
  cuemu::region.address = address;
  cuemu::region.bytes = bytes;
  cuemu::protect(PROT_NONE);
}
