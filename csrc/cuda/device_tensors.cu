// Tables of tensors on their way to the GPU, as arguments of kernels.
#include <algorithm>
#include <cstring>
#include <vector>

#include "cuda/device_tensors.h"
#include "cuda/error.h"

namespace fnn::cuda {
namespace {

constexpr int kWords = 448;  // 3.5 of the 4 KB that a kernel's arguments may take

struct Words {
  std::uint64_t word[kWords];
};
static_assert(sizeof(cpu::OptimizerTensor) % sizeof(std::uint64_t) == 0, "a table is whole words");

__global__ void copy_words(const __grid_constant__ Words words, int count, std::uint64_t* to) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < count) to[i] = words.word[i];
}

__global__ void put_grads(const __grid_constant__ Words words, int count, cpu::OptimizerTensor* tensors) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < count) tensors[i].grad = reinterpret_cast<const float*>(words.word[i]);
}

// Calls put(words, first, count) for all words, as many at a time as fit the arguments.
template <class Put>
void in_parts(const std::uint64_t* words, std::int64_t count, const Put& put) {
  for (std::int64_t first = 0; first < count; first += kWords) {
    const std::int64_t part = std::min<std::int64_t>(kWords, count - first);
    Words some;
    std::memcpy(some.word, words + first, static_cast<std::size_t>(part) * sizeof(std::uint64_t));
    put(some, first, static_cast<int>(part));
  }
}

bool capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  FNN_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace

void put_words(cudaStream_t stream, const std::uint64_t* words, std::int64_t count, void* to) {
  in_parts(words, count, [&](const Words& some, std::int64_t first, int part) {
    auto* const place = static_cast<std::uint64_t*>(to) + first;
    FNN_CUDA_CHECK(launch(copy_words, 1, kWords, 0, stream, some, part, place));
  });
}

std::size_t table_bytes(std::int64_t count) {
  const auto n = static_cast<std::size_t>(count);
  return n * sizeof(cpu::OptimizerTensor) + (n + 1) * sizeof(std::int64_t);
}

DeviceTensors put_table(cudaStream_t stream, const cpu::OptimizerTensor* tensors, std::int64_t count, void* memory) {
  std::vector<std::uint64_t> words(table_bytes(count) / sizeof(std::uint64_t));
  auto* const first_piece = reinterpret_cast<std::int64_t*>(words.data() + words.size()) - (count + 1);
  if (count > 0) std::memcpy(words.data(), tensors, static_cast<std::size_t>(count) * sizeof(cpu::OptimizerTensor));
  std::int64_t pieces = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    first_piece[i] = pieces;
    pieces += (tensors[i].count + kPiece - 1) / kPiece;
  }
  first_piece[count] = pieces;
  put_words(stream, words.data(), static_cast<std::int64_t>(words.size()), memory);
  auto* const places =
      reinterpret_cast<const std::int64_t*>(static_cast<std::uint64_t*>(memory) + words.size()) - (count + 1);
  return {static_cast<const cpu::OptimizerTensor*>(memory), places, count, pieces};
}

DeviceTable::~DeviceTable() {
  if (memory_ != nullptr) cudaFree(memory_);  // waits for what still uses it
  for (void* memory : captured_memory_) cudaFree(memory);
}

const DeviceTensors* DeviceTable::on(cudaStream_t stream, const cpu::OptimizerTensor* tensors, std::int64_t count) {
  const bool captures = capturing(stream);
  if ((all_changed_ || grads_changed_) && captured_) {  // a graph goes on with the table as it was
    captured_memory_.push_back(memory_);
    memory_ = nullptr;
    captured_ = false;
    all_changed_ = true;
  }
  if (memory_ == nullptr) FNN_CUDA_CHECK(cudaMalloc(&memory_, table_bytes(count)));
  if (stream != stream_ && !captures) all_changed_ = true;  // nothing says that the other stream has come so far
  if (all_changed_) {
    view_ = put_table(stream, tensors, count, memory_);
  } else if (grads_changed_) {
    move_grads(stream, tensors, count);
  }
  captured_ = captured_ || captures;
  if (captures) return &view_;  // the graph has not run yet
  all_changed_ = grads_changed_ = false;
  stream_ = stream;
  return &view_;
}

void DeviceTable::move_grads(cudaStream_t stream, const cpu::OptimizerTensor* tensors, std::int64_t count) {
  std::vector<std::uint64_t> grads(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    grads[static_cast<std::size_t>(i)] = reinterpret_cast<std::uintptr_t>(tensors[i].grad);
  auto* const table = static_cast<cpu::OptimizerTensor*>(memory_);
  in_parts(grads.data(), count, [&](const Words& some, std::int64_t first, int part) {
    FNN_CUDA_CHECK(launch(put_grads, 1, kWords, 0, stream, some, part, table + first));
  });
}

}  // namespace fnn::cuda
