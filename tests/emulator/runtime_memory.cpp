// Memory of the stand-in runtime: it holds 0xFF (NaN, -1) at first, and again before it is given back.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

#include "hidden_memory.h"
#include "runtime.h"

namespace {

constexpr std::size_t kAlignment = 256;  // of cudaMalloc

std::map<void*, std::size_t>& device_blocks() {
  static std::map<void*, std::size_t> all;
  return all;
}

cudaError_t allocate(void** memory, std::size_t bytes) {
  *memory = nullptr;
  if (bytes == 0) return cudaSuccess;
  // Not rounded up, so that AddressSanitizer sees what goes beyond.
  if (posix_memalign(memory, kAlignment, bytes) != 0) return cuemu::remember(cudaErrorMemoryAllocation);
  std::memset(*memory, 0xFF, bytes);
  device_blocks()[*memory] = bytes;
  return cudaSuccess;
}

cudaError_t release(void* memory) {
  if (!memory) return cudaSuccess;
  const auto found = device_blocks().find(memory);
  if (found == device_blocks().end()) return cuemu::remember(cudaErrorInvalidValue);
  std::memset(memory, 0xFF, found->second);
  device_blocks().erase(found);
  std::free(memory);
  return cudaSuccess;
}

cudaError_t copy(void* to, const void* from, std::size_t bytes) {
  const cuemu::Revealed revealed;
  std::memmove(to, from, bytes);
  return cudaSuccess;
}

cudaError_t copy_rows(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t width,
                      std::size_t height) {
  if (width > to_pitch || width > from_pitch) return cuemu::remember(cudaErrorInvalidPitchValue);
  const cuemu::Revealed revealed;
  for (std::size_t row = 0; row < height; ++row) {
    std::memmove(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
  }
  return cudaSuccess;
}

cudaError_t fill(void* memory, int value, std::size_t bytes) {
  const cuemu::Revealed revealed;
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

struct Handle {  // what a cudaIpcMemHandle_t holds: an address, since all "devices" are in this process
  void* memory;
};
static_assert(sizeof(Handle) <= sizeof(cudaIpcMemHandle_t));

}  // namespace

namespace cuemu {

std::size_t device_bytes() {
  std::size_t total = 0;
  for (const auto& block : device_blocks()) total += block.second;
  return total;
}

}  // namespace cuemu

extern "C" {

cudaError_t cudaMalloc(void** memory, size_t bytes) { return allocate(memory, bytes); }
cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t) { return allocate(memory, bytes); }
cudaError_t cudaMallocManaged(void** memory, size_t bytes, unsigned) { return allocate(memory, bytes); }
cudaError_t cudaFree(void* memory) { return release(memory); }
cudaError_t cudaFreeAsync(void* memory, cudaStream_t) { return release(memory); }

cudaError_t cudaMallocHost(void** memory, size_t bytes) { return allocate(memory, bytes); }
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) { return allocate(memory, bytes); }
cudaError_t cudaFreeHost(void* memory) { return release(memory); }
cudaError_t cudaHostRegister(void*, size_t, unsigned) { return cudaSuccess; }
cudaError_t cudaHostUnregister(void*) { return cudaSuccess; }
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) { return copy(to, from, bytes); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  return copy(to, from, bytes);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t) {
  return copy(to, from, bytes);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind, cudaStream_t) {
  return copy_rows(to, to_pitch, from, from_pitch, width, height);
}
cudaError_t cudaMemset(void* memory, int value, size_t bytes) { return fill(memory, value, bytes); }
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) { return fill(memory, value, bytes); }

cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  *total = size_t{1} << 33;
  *available = *total - cuemu::device_bytes();
  return cudaSuccess;
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* memory) {
  const Handle content{memory};
  std::memset(handle, 0, sizeof *handle);
  std::memcpy(handle, &content, sizeof content);
  return cudaSuccess;
}
cudaError_t cudaIpcOpenMemHandle(void** memory, cudaIpcMemHandle_t handle, unsigned) {
  Handle content;
  std::memcpy(&content, &handle, sizeof content);
  *memory = content.memory;
  return cudaSuccess;
}
cudaError_t cudaIpcCloseMemHandle(void*) { return cudaSuccess; }

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  *attributes = {};
  attributes->type = cudaMemoryTypeDevice;
  attributes->devicePointer = const_cast<void*>(memory);
  return cudaSuccess;
}

}  // extern "C"
