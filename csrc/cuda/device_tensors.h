// The table of an optimizer's tensors where a GPU reads it: a copy in its memory, and how blocks share the elements
// out.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/tensor_list.h"
#include "cuda/run.h"

namespace fnn::cuda {

// Elements of a tensor that a block works on: a run of 256 for each of its eight warps, which is also a block of 8-bit
// numbers with a common scale.
inline constexpr std::int64_t kPiece = 2048;

// Handed to kernels by value.
struct DeviceTensors {
  const cpu::OptimizerTensor* tensors;
  const std::int64_t* first_piece;  // of each tensor, and at the end the number of all pieces
  std::int64_t tensor_count, piece_count;
};

// Owns that memory. What the host's table holds goes there by way of kernel arguments: that may be captured in a graph,
// which then needs nothing of the host's memory.
class DeviceTable {
 public:
  DeviceTable() = default;
  DeviceTable(const DeviceTable&) = delete;
  DeviceTable& operator=(const DeviceTable&) = delete;
  ~DeviceTable();

  // What has changed in the host's table since it was enqueued.
  void note_change() { all_changed_ = true; }
  void note_grads() { grads_changed_ = true; }
  // The table as what is enqueued in the stream from now on finds it. There are always as many tensors. A graph that is
  // captured is taken to begin after what has been enqueued; it keeps the table that it finds for ever.
  const DeviceTensors* on(cudaStream_t stream, const cpu::OptimizerTensor* tensors, std::int64_t count);

 private:
  void move_grads(cudaStream_t stream, const cpu::OptimizerTensor* tensors, std::int64_t count);

  DeviceTensors view_ = {};
  void* memory_ = nullptr;
  std::vector<void*> captured_memory_;  // that graphs go on reading
  cudaStream_t stream_ = nullptr;       // that the table is ready in
  bool all_changed_ = true, grads_changed_ = false, captured_ = false;
};

// Enqueues a copy of the host's words, by way of kernel arguments.
void put_words(cudaStream_t stream, const std::uint64_t* words, std::int64_t count, void* to);

// Bytes of a table, and enqueueing a whole one into so many bytes at `memory`: for a step whose table is used once.
std::size_t table_bytes(std::int64_t count);
DeviceTensors put_table(cudaStream_t stream, const cpu::OptimizerTensor* tensors, std::int64_t count, void* memory);

}  // namespace fnn::cuda
