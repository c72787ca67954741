// A GPU and its two neighbours in a ring, which belong to other processes of the host: memory that the one before
// writes to, in slots that are used by turns, and events that say what has been written and what has been read.
//
// CUDA lets a process wait only for events that were recorded before it says so: before receive() the one before must
// have returned from its send() of that message, and before send() the next one from its receive() of the message that
// was in the slot. The processes tell each other that by other means; no GPU ever waits for a process.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cuda/peer_combine.h"
#include "cuda/run.h"

typedef struct CUevent_st* cudaEvent_t;

namespace fnn::cuda {

class PeerLink {
 public:
  PeerLink(int slots, std::int64_t slot_bytes);
  PeerLink(const PeerLink&) = delete;
  PeerLink& operator=(const PeerLink&) = delete;
  ~PeerLink();

  int slots() const { return static_cast<int>(filled_.size()); }
  std::int64_t slot_bytes() const { return slot_bytes_; }
  // What the neighbours' processes need to reach this one's memory and events.
  std::string passport() const;
  // With the passports of the neighbours. False if their GPUs' memory can't be reached from this one.
  bool connect(const std::string& next, const std::string& previous);

  // Copies `bytes` into the next one's slot for this message; the messages count from 0.
  void send(std::int64_t message, const void* from, std::int64_t bytes, cudaStream_t stream);
  // Takes this message, of `call.count` elements, out of its slot: combined with call.own, or as it is if that is null.
  void receive(std::int64_t message, PeerCombine call, cudaStream_t stream);

 private:
  struct Passport;
  std::size_t slot(std::int64_t message) const { return static_cast<std::size_t>(message) % filled_.size(); }

  const std::int64_t slot_bytes_;
  std::byte *own_ = nullptr, *next_ = nullptr;  // the slots of this one, and the next one's
  std::vector<cudaEvent_t> filled_, emptied_;   // recorded here: in the next one's slots, in the own ones
  std::vector<cudaEvent_t> previous_filled_, next_emptied_;
};

// Copies on the stream, from or to memory of the host, too.
void copy(void* to, const void* from, std::int64_t bytes, cudaStream_t stream);
void synchronize(cudaStream_t stream);
// From now on copies to and from this memory of the host are made by the GPU alone. False if that can't be had.
bool pin(void* memory, std::int64_t bytes);
void unpin(void* memory);

// Memory on the GPU until the end of this object's life.
class DeviceMemory {
 public:
  explicit DeviceMemory(std::int64_t bytes);
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory();
  void* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  const std::int64_t bytes_;
};

}  // namespace fnn::cuda
