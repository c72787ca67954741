#include "collectives.h"

#include <cstring>

namespace cuemu {

struct Meeting {
  std::uint32_t mask = 0, arrived = 0, left = 0;
  Kind kind = Kind::kSync;
  alignas(16) unsigned char values[32][16];
};

namespace {

std::vector<Meeting*> unused;

Meeting& open_meeting(Warp& warp, std::uint32_t mask, Kind kind, int lane) {
  for (Meeting* meeting : warp.open) {
    if (meeting->mask == mask && meeting->kind == kind && !(meeting->arrived >> lane & 1)) return *meeting;
  }
  if (unused.empty()) unused.push_back(new Meeting);
  Meeting& meeting = *unused.back();
  unused.pop_back();
  meeting.mask = mask;
  meeting.arrived = 0;
  meeting.kind = kind;
  std::memset(meeting.values, 0xFF, sizeof meeting.values);
  warp.open.push_back(&meeting);
  return meeting;
}

// Brings a value to the meeting of the lanes in `mask` and returns when all have come.
Meeting& meet(std::uint32_t mask, Kind kind, const void* value, std::size_t size, int line) {
  Thread& thread = *current();
  Block& block = *thread.block;
  const int lane = thread.lane();
  thread.line = line;
  if (!(mask >> lane & 1)) report("warp collective called by a lane outside its mask: " + place_of(thread));
  Meeting& meeting = open_meeting(block.warp_of(thread), mask, kind, lane);
  meeting.arrived |= 1u << lane;
  std::memcpy(meeting.values[lane], value, size);
  thread.state = State::kInMeeting;
  complete_meetings(block, thread.number / 32);
  suspend(thread);
  return meeting;
}

void part(Meeting& meeting) {
  meeting.left &= ~(1u << current()->lane());
  if (meeting.left == 0) unused.push_back(&meeting);
}

}  // namespace

void exchange(std::uint32_t mask, Kind kind, const void* value, void* result, std::size_t size, int source, int line) {
  Meeting& meeting = meet(mask, kind, value, size, line);
  if (source >= 0 && source < 32) {
    std::memcpy(result, meeting.values[source], size);
  } else {
    std::memset(result, 0xFF, size);
  }
  part(meeting);
}

std::uint32_t gather(std::uint32_t mask, Kind kind, std::uint32_t value, std::uint32_t all[32], int line) {
  Meeting& meeting = meet(mask, kind, &value, sizeof value, line);
  for (int lane = 0; lane < 32; ++lane) std::memcpy(&all[lane], meeting.values[lane], sizeof value);
  const std::uint32_t came = meeting.arrived;
  part(meeting);
  return came;
}

std::uint32_t active_lanes() { return current()->block->warp_of(*current()).alive; }

int current_lane() { return current()->lane(); }

void complete_meetings(Block& block, int number) {
  Warp& warp = block.warps[static_cast<std::size_t>(number)];
  for (std::size_t i = 0; i < warp.open.size();) {
    Meeting& meeting = *warp.open[i];
    if (meeting.arrived == 0 || (meeting.mask & warp.alive & ~meeting.arrived) != 0) {
      ++i;
      continue;
    }
    warp.open.erase(warp.open.begin() + static_cast<std::ptrdiff_t>(i));
    meeting.left = meeting.arrived;
    if (meeting.kind == Kind::kSync) ++warp.epoch;
    for (int lane = 0; lane < 32; ++lane) {
      if (meeting.arrived >> lane & 1) wake(block.threads[static_cast<std::size_t>(number * 32 + lane)]);
    }
  }
}

}  // namespace cuemu
