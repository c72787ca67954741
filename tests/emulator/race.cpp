#include "race.h"

#include <cstdint>
#include <cstdio>
#include <memory>
#include <unordered_map>

#include "scheduler.h"
#include "shared_memory.h"

namespace cuemu {
namespace {

constexpr std::uint32_t kNobody = ~0u;
constexpr std::uintptr_t kPageBytes = 256;

struct Visit {
  std::uint32_t block = kNobody;
  std::uint16_t thread = 0;
  std::uint32_t epoch = 0, warp_epoch = 0;  // barriers passed
  void* instruction = nullptr;
};

struct Byte {
  Visit write, reads[2];  // two readers of different warps, if there were
  bool atomic = false;
};

struct Page {
  Byte bytes[kPageBytes];
};

std::unordered_map<std::uintptr_t, std::unique_ptr<Page>> pages;
std::uintptr_t last_number = 0;
Page* last_page = nullptr;

Byte& byte_at(std::uintptr_t address) {
  const std::uintptr_t number = address / kPageBytes;
  if (!last_page || number != last_number) {
    std::unique_ptr<Page>& page = pages[number];
    if (!page) page = std::make_unique<Page>();
    last_page = page.get();
    last_number = number;
  }
  return last_page->bytes[address % kPageBytes];
}

// Whether nothing orders the earlier visit before this one. Shared memory of a block may lie where another's was.
bool races(const Visit& earlier, const Visit& now, bool shared) {
  if (earlier.block == kNobody) return false;
  if (earlier.block != now.block) return !shared;
  if (earlier.thread == now.thread || earlier.epoch < now.epoch) return false;
  return earlier.thread / 32 != now.thread / 32 || earlier.warp_epoch == now.warp_epoch;
}

void remember_read(Byte& byte, const Visit& now) {
  Visit &first = byte.reads[0], &second = byte.reads[1];
  const bool same_phase = first.block == now.block && first.epoch == now.epoch;
  if (!same_phase || first.thread == now.thread) {
    first = now;
  } else if (second.epoch != now.epoch || second.block != now.block || second.thread / 32 == first.thread / 32) {
    second = now;
  }
}

void report_race(const Visit& earlier, const Visit& now, bool shared, bool write) {
  char text[256];
  std::snprintf(text, sizeof text,
                "race on %s memory: %s by block %u thread %u (at %p) against block %u thread %u (at %p)",
                shared ? "shared" : "global", write ? "write" : "read", now.block, now.thread, now.instruction,
                earlier.block, earlier.thread, earlier.instruction);
  report(text);
}

}  // namespace

void record_access(void* address, std::size_t size, Access access, void* instruction) {
  const Thread* thread = current();
  if (!thread || stacks().hold(address)) return;
  Block& block = *thread->block;
  const bool shared = is_shared(block, address), write = access != Access::kRead, atomic = access == Access::kAtomic;
  Visit now;
  now.block = block.number;
  now.thread = static_cast<std::uint16_t>(thread->number);
  now.epoch = block.epoch;
  now.warp_epoch = block.warp_of(*thread).epoch;
  now.instruction = instruction;
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(address);
  for (std::size_t i = 0; i < size; ++i) {
    Byte& byte = byte_at(first + i);
    if (races(byte.write, now, shared) && !(atomic && byte.atomic)) report_race(byte.write, now, shared, write);
    for (const Visit& read : byte.reads) {
      if (write && races(read, now, shared)) report_race(read, now, shared, write);
    }
    if (write) {
      byte.write = now;
      byte.atomic = atomic;
    } else {
      remember_read(byte, now);
    }
  }
}

void forget_accesses() {
  pages.clear();
  last_page = nullptr;
}

}  // namespace cuemu
