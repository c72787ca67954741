#include "shared_memory.h"

#include <cstdlib>
#include <cstring>
#include <string>

namespace cuemu {
namespace {

void* allocate(Block& block, const void* place, std::size_t bytes) {
  // Aligned as on the card; not rounded up, so that AddressSanitizer sees what goes beyond.
  void* data = nullptr;
  if (posix_memalign(&data, 128, bytes) != 0) std::abort();
  std::memset(data, 0xFF, bytes);
  block.shared.push_back({place, static_cast<unsigned char*>(data), bytes});
  return data;
}

}  // namespace

std::size_t shared_limit() {
  const char* text = std::getenv("CUEMU_SHARED_LIMIT");
  return text ? std::strtoull(text, nullptr, 10) : std::size_t{227} << 10;
}

void* static_shared(const void* place, std::size_t bytes) {
  Thread& thread = *current();
  std::size_t total = bytes;
  for (const SharedArray& array : thread.block->shared) {
    if (array.place == place) return array.data;
    if (array.place) total += array.bytes;
  }
  if (total > kStaticSharedLimit) report("more than 48 KiB of static shared memory: " + place_of(thread));
  if (total + thread.block->launch->shared_bytes > shared_limit()) {
    report("more than " + std::to_string(shared_limit() >> 10) + " KiB of shared memory: " + place_of(thread));
  }
  return allocate(*thread.block, place, bytes);
}

void* dynamic_shared() {
  const Block& block = *current()->block;
  return !block.shared.empty() && !block.shared[0].place ? block.shared[0].data : nullptr;
}

void allocate_dynamic(Block& block, std::size_t bytes) {
  if (bytes) allocate(block, nullptr, bytes);
}

void free_shared(Block& block) {
  for (const SharedArray& array : block.shared) std::free(array.data);
  block.shared.clear();
}

bool is_shared(const Block& block, const void* address) {
  for (const SharedArray& array : block.shared) {
    if (address >= array.data && address < array.data + array.bytes) return true;
  }
  return false;
}

}  // namespace cuemu
