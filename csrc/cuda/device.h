// What there is of CUDA on this machine.
#pragma once

namespace fnn::cuda {

// GPUs that this process sees; 0 without a driver or with one that is too old.
int device_count();
// Of CUDA, as 1000 * major + 10 * minor: the highest that the driver supports (0 without one), and what this was built
// with.
int driver_version();
int runtime_version();

// Bytes of shared memory that a block may have on the current GPU, and on any that there is code for (sm_75).
int shared_memory_limit();
inline constexpr int kLeastSharedMemory = 64 << 10;

}  // namespace fnn::cuda
