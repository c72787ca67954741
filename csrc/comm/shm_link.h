// Neighbours of one host: bytes go through memory that they share.
#pragma once
#include "comm/link.h"
#include "comm/segment.h"
#include "comm/watch.h"

namespace fnn::comm {

class ShmLink : public Link {
 public:
  ShmLink(Segment& segment, Watch& watch, int local_rank);

  std::int64_t send(const void* bytes, std::int64_t count) override;
  std::int64_t receive(void* bytes, std::int64_t count) override;
  void idle(int& rounds, bool sends, bool receives) override;
  void finish() override;

 private:
  static constexpr std::uint32_t kRoom = 2 * kStage;  // a power of two, so that counters may wrap around

  Segment& segment_;
  Watch& watch_;
  const int me_, next_, previous_;
  std::uint32_t sent_ = 0, received_ = 0;
  std::uint32_t heard_ = 0;  // what the bell stood at before the last look at both neighbours
  Watch::Wait wait_{};
};

}  // namespace fnn::comm
