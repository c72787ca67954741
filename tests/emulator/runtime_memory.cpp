// Memory of the stand-in runtime: it holds 0xFF (NaN, -1) at first, and again before it is given back.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "hidden_memory.h"
#include "runtime.h"

namespace {

constexpr std::size_t kAlignment = 256, kPage = 4096;  // of cudaMalloc, and of memory that processes share

std::map<void*, std::size_t>& device_blocks() {
  static std::map<void*, std::size_t> all;
  return all;
}

std::map<void*, int>& files() {  // of the blocks that are one
  static std::map<void*, int> all;
  return all;
}

cudaError_t remembered(void* memory, std::size_t bytes) {
  std::memset(memory, 0xFF, bytes);
  device_blocks()[memory] = bytes;
  return cudaSuccess;
}

cudaError_t allocate(void** memory, std::size_t bytes) {
  *memory = nullptr;
  if (bytes == 0) return cudaSuccess;
  // Not rounded up, so that AddressSanitizer sees what goes beyond.
  if (posix_memalign(memory, kAlignment, bytes) != 0) return cuemu::remember(cudaErrorMemoryAllocation);
  return remembered(*memory, bytes);
}

// Whole pages are a file without a name, which other processes may open, too.
cudaError_t allocate_pages(void** memory, std::size_t bytes) {
  const int file = memfd_create("cuemu", MFD_CLOEXEC);
  void* pages = MAP_FAILED;
  if (file >= 0 && ftruncate(file, static_cast<off_t>(bytes)) == 0)
    pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (pages == MAP_FAILED) {
    if (file >= 0) close(file);
    return cuemu::remember(cudaErrorMemoryAllocation);
  }
  *memory = pages;
  files()[pages] = file;
  return remembered(pages, bytes);
}

cudaError_t release(void* memory) {
  if (!memory) return cudaSuccess;
  const auto found = device_blocks().find(memory);
  if (found == device_blocks().end()) return cuemu::remember(cudaErrorInvalidValue);
  const std::size_t bytes = found->second;
  std::memset(memory, 0xFF, bytes);
  device_blocks().erase(found);
  const auto file = files().find(memory);
  if (file == files().end()) {
    std::free(memory);
    return cudaSuccess;
  }
  munmap(memory, bytes);
  close(file->second);
  files().erase(file);
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

struct Handle {  // what a cudaIpcMemHandle_t holds
  pid_t process;
  int file;
  std::size_t bytes;
};
static_assert(sizeof(Handle) <= sizeof(cudaIpcMemHandle_t));

std::map<void*, std::size_t>& opened_blocks() {  // of other processes
  static std::map<void*, std::size_t> all;
  return all;
}

}  // namespace

namespace cuemu {

std::size_t device_bytes() {
  std::size_t total = 0;
  for (const auto& block : device_blocks()) total += block.second;
  return total;
}

}  // namespace cuemu

extern "C" {

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return bytes > 0 && bytes % kPage == 0 ? allocate_pages(memory, bytes) : allocate(memory, bytes);
}
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
  const auto file = files().find(memory);
  if (file == files().end()) return cuemu::remember(cudaErrorInvalidValue);
  const Handle content{getpid(), file->second, device_blocks()[memory]};
  std::memset(handle, 0, sizeof *handle);
  std::memcpy(handle, &content, sizeof content);
  return cudaSuccess;
}
cudaError_t cudaIpcOpenMemHandle(void** memory, cudaIpcMemHandle_t handle, unsigned) {
  Handle content;
  std::memcpy(&content, &handle, sizeof content);
  // CUDA refuses what is this process's own.
  if (content.process == getpid()) return cuemu::remember(cudaErrorDeviceUninitialized);
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/fd/%d", static_cast<int>(content.process), content.file);
  const int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return cuemu::remember(cudaErrorInvalidResourceHandle);
  void* pages = mmap(nullptr, content.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (pages == MAP_FAILED) return cuemu::remember(cudaErrorInvalidResourceHandle);
  *memory = pages;
  opened_blocks()[pages] = content.bytes;
  return cudaSuccess;
}
cudaError_t cudaIpcCloseMemHandle(void* memory) {
  const auto found = opened_blocks().find(memory);
  if (found == opened_blocks().end()) return cuemu::remember(cudaErrorInvalidValue);
  munmap(memory, found->second);
  opened_blocks().erase(found);
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  *attributes = {};
  attributes->type = cudaMemoryTypeDevice;
  attributes->devicePointer = const_cast<void*>(memory);
  return cudaSuccess;
}

}  // extern "C"
