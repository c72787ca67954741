#include <cstring>

#include "cuda/error.h"
#include "cuda/peer_link.h"

namespace fnn::cuda {
namespace {

constexpr int kMostSlots = 8;

cudaEvent_t make_event() {
  cudaEvent_t event = nullptr;
  FNN_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventInterprocess));
  return event;
}

cudaIpcEventHandle_t handle_of(cudaEvent_t event) {
  cudaIpcEventHandle_t handle;
  FNN_CUDA_CHECK(cudaIpcGetEventHandle(&handle, event));
  return handle;
}

std::vector<cudaEvent_t> opened(const cudaIpcEventHandle_t* handles, std::size_t count) {
  std::vector<cudaEvent_t> events(count);
  for (std::size_t i = 0; i < count; ++i) FNN_CUDA_CHECK(cudaIpcOpenEventHandle(&events[i], handles[i]));
  return events;
}

}  // namespace

struct PeerLink::Passport {
  cudaIpcMemHandle_t slots;
  cudaIpcEventHandle_t filled[kMostSlots], emptied[kMostSlots];
};

PeerLink::PeerLink(int slots, std::int64_t slot_bytes) : slot_bytes_(slot_bytes) {
  FNN_CHECK(slots > 0 && slots <= kMostSlots && slot_bytes > 0 && slot_bytes % 16 == 0, "no such slots");
  void* memory = nullptr;
  FNN_CUDA_CHECK(cudaMalloc(&memory, static_cast<std::size_t>(slots * slot_bytes)));
  own_ = static_cast<std::byte*>(memory);
  for (int i = 0; i < slots; ++i) {
    filled_.push_back(make_event());
    emptied_.push_back(make_event());
  }
}

PeerLink::~PeerLink() {
  for (const auto* events : {&filled_, &emptied_, &previous_filled_, &next_emptied_}) {
    for (cudaEvent_t event : *events) cudaEventDestroy(event);
  }
  if (next_ != nullptr) cudaIpcCloseMemHandle(next_);
  cudaFree(own_);
}

std::string PeerLink::passport() const {
  Passport passport = {};
  FNN_CUDA_CHECK(cudaIpcGetMemHandle(&passport.slots, own_));
  for (std::size_t i = 0; i < filled_.size(); ++i) {
    passport.filled[i] = handle_of(filled_[i]);
    passport.emptied[i] = handle_of(emptied_[i]);
  }
  return std::string(reinterpret_cast<const char*>(&passport), sizeof passport);
}

bool PeerLink::connect(const std::string& next, const std::string& previous) {
  Passport after, before;
  FNN_CHECK(next.size() == sizeof after && previous.size() == sizeof before, "that is no passport");
  std::memcpy(&after, next.data(), sizeof after);
  std::memcpy(&before, previous.data(), sizeof before);
  void* memory = nullptr;
  if (cudaIpcOpenMemHandle(&memory, after.slots, cudaIpcMemLazyEnablePeerAccess) != cudaSuccess) {
    cudaGetLastError();  // clears it
    return false;
  }
  next_ = static_cast<std::byte*>(memory);
  next_emptied_ = opened(after.emptied, filled_.size());
  previous_filled_ = opened(before.filled, filled_.size());
  return true;
}

void PeerLink::send(std::int64_t message, const void* from, std::int64_t bytes, cudaStream_t stream) {
  FNN_CHECK(next_ != nullptr && bytes <= slot_bytes_, "the message doesn't fit");
  const std::size_t at = slot(message);
  if (message >= slots()) FNN_CUDA_CHECK(cudaStreamWaitEvent(stream, next_emptied_[at], 0));
  copy(next_ + static_cast<std::int64_t>(at) * slot_bytes_, from, bytes, stream);
  FNN_CUDA_CHECK(cudaEventRecord(filled_[at], stream));
}

void PeerLink::receive(std::int64_t message, PeerCombine call, cudaStream_t stream) {
  const std::size_t at = slot(message);
  const std::int64_t bytes = call.count * comm::size_of(call.type);
  FNN_CHECK(next_ != nullptr && bytes <= slot_bytes_, "the message doesn't fit");
  FNN_CUDA_CHECK(cudaStreamWaitEvent(stream, previous_filled_[at], 0));
  call.incoming = own_ + static_cast<std::int64_t>(at) * slot_bytes_;
  if (call.own != nullptr) {
    run(call, stream);
  } else {
    copy(call.out, call.incoming, bytes, stream);
  }
  FNN_CUDA_CHECK(cudaEventRecord(emptied_[at], stream));
}

void copy(void* to, const void* from, std::int64_t bytes, cudaStream_t stream) {
  if (to == from || bytes == 0) return;
  FNN_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault, stream));
}

void synchronize(cudaStream_t stream) { FNN_CUDA_CHECK(cudaStreamSynchronize(stream)); }

bool pin(void* memory, std::int64_t bytes) {
  if (cudaHostRegister(memory, static_cast<std::size_t>(bytes), cudaHostRegisterPortable) == cudaSuccess) return true;
  cudaGetLastError();
  return false;
}

void unpin(void* memory) {
  if (cudaHostUnregister(memory) != cudaSuccess) cudaGetLastError();
}

DeviceMemory::DeviceMemory(std::int64_t bytes) : bytes_(bytes) {
  FNN_CUDA_CHECK(cudaMalloc(&data_, static_cast<std::size_t>(bytes)));
}

DeviceMemory::~DeviceMemory() { cudaFree(data_); }

}  // namespace fnn::cuda
