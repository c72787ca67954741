#include "race.h"

#include <algorithm>
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
  std::uint32_t time = 0;
  void* instruction = nullptr;
  bool atomic = false;
};

struct Byte {
  Visit write, reads[2];  // two readers of different warps, if there were
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

// What one block knows of another one from a flag: all that it did in the phases before `epoch`, and what `thread` did
// until `time`. The thread that saw the flag knows it at once, its block after the next barrier.
struct Known {
  std::uint32_t block, epoch, time;
  std::uint16_t thread;
  std::uint16_t holder;
  std::uint32_t since;  // the holder's epoch
};

std::unordered_map<std::uint32_t, std::vector<Known>> known_by;  // block -> what it knows
std::unordered_map<std::uintptr_t, std::vector<Known>> flags;    // address -> what those who wrote there knew
std::uint32_t clock_now = 0;

bool holds(const Known& known, const Visit& now) { return known.holder == now.thread || known.since < now.epoch; }

void add(std::vector<Known>& all, const Known& one) {
  for (Known& other : all) {
    if (other.block != one.block || other.thread != one.thread || other.holder != one.holder) continue;
    if (other.since != one.since && other.time >= one.time) continue;  // the older knowledge is known to more threads
    other.epoch = std::max(other.epoch, one.epoch);
    other.time = std::max(other.time, one.time);
    return;
  }
  all.push_back(one);
}

// What the thread knows goes with the flag that it sets.
void release(const void* flag, const Visit& now) {
  std::vector<Known>& carried = flags[reinterpret_cast<std::uintptr_t>(flag)];
  add(carried, {now.block, now.epoch, clock_now++, now.thread, 0, 0});
  for (Known known : known_by[now.block]) {
    if (!holds(known, now)) continue;
    known.holder = 0;
    known.since = 0;
    add(carried, known);
  }
}

void acquire(const void* flag, const Visit& now) {
  const auto found = flags.find(reinterpret_cast<std::uintptr_t>(flag));
  if (found == flags.end()) return;
  for (Known known : found->second) {
    if (known.block == now.block) continue;
    known.holder = now.thread;
    known.since = now.epoch;
    add(known_by[now.block], known);
  }
}

// Whether nothing orders the earlier visit before this one. Shared memory of a block may lie where another's was.
bool races(const Visit& earlier, const Visit& now, bool shared) {
  if (earlier.block == kNobody) return false;
  if (earlier.block == now.block) {
    if (earlier.thread == now.thread || earlier.epoch < now.epoch) return false;
    return earlier.thread / 32 != now.thread / 32 || earlier.warp_epoch == now.warp_epoch;
  }
  if (shared) return false;
  for (const Known& known : known_by[now.block]) {
    if (known.block != earlier.block || !holds(known, now)) continue;
    if (earlier.epoch < known.epoch || (earlier.thread == known.thread && earlier.time <= known.time)) return false;
  }
  return true;
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

void visit(Byte& byte, const Visit& now, bool shared, bool write) {
  const auto clash = [&](const Visit& earlier) {
    if (races(earlier, now, shared) && !(earlier.atomic && now.atomic)) report_race(earlier, now, shared, write);
  };
  clash(byte.write);
  if (!write) return remember_read(byte, now);
  for (const Visit& read : byte.reads) clash(read);
  byte.write = now;
}

}  // namespace

void record_access(void* address, std::size_t size, Access access, void* instruction) {
  Thread* thread = current();
  if (!thread || stacks().hold(address)) return;
  Block& block = *thread->block;
  const bool shared = is_shared(block, address);
  const bool write = access != Access::kRead && access != Access::kVolatileRead;
  Visit now;
  now.atomic = access != Access::kRead && access != Access::kWrite;
  now.block = block.number;
  now.thread = static_cast<std::uint16_t>(thread->number);
  now.epoch = block.epoch;
  now.warp_epoch = block.warp_of(*thread).epoch;
  now.time = clock_now;
  now.instruction = instruction;
  if (now.atomic && !shared) {
    if (write && thread->fenced) release(address, now);
    acquire(address, now);
  } else if (write && !shared) {
    thread->fenced = false;
  }
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(address);
  for (std::size_t i = 0; i < size; ++i) visit(byte_at(first + i), now, shared, write);
}

void forget_accesses() {
  pages.clear();
  last_page = nullptr;
  known_by.clear();
  flags.clear();
  clock_now = 0;
}

}  // namespace cuemu
