// A rank's two neighbours in a ring, whichever way bytes get there.
#pragma once
#include <cstdint>

namespace fnn::comm {

class Link {
 public:
  virtual ~Link() = default;
  // As many bytes as there is room for, or as have come; 0 if none. Throw Failed if the neighbour is gone.
  virtual std::int64_t send(const void* bytes, std::int64_t count) = 0;
  virtual std::int64_t receive(void* bytes, std::int64_t count) = 0;
  // Called again and again (with a counter that begins at 0) while neither side gets on; what this rank still has to
  // do says whom it waits for.
  virtual void idle(int& rounds, bool sends, bool receives) = 0;
  // Once per operation, before its first byte and after its last one. `bytes`: how many each side sends, or so.
  virtual void begin(std::int64_t /*bytes*/) {}
  virtual void finish() {}
};

}  // namespace fnn::comm
