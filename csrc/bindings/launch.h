// Running a kernel from Python, without the GIL. On the CPU: on the thread team or borrowed threads; a tape that is
// recording takes a copy. With FNN_CUDA: on the GPU, in the order of the current stream.
#pragma once
#include <pybind11/pybind11.h>

#ifdef FNN_CUDA
#include "bindings/stream.h"
#include "cuda/run.h"
#else
#include "base/borrowed_threads.h"
#include "base/kernel.h"
#include "tape/tape.h"
#endif

namespace fnn::bindings {

#ifdef FNN_CUDA

template <class K>
void launch(const K& kernel) {
  const cudaStream_t stream = current_stream();
  pybind11::gil_scoped_release unlocked;
  cuda::run(kernel, stream);
}

template <class K>
void launch_borrowing(const K& kernel) {
  launch(kernel);
}

#else

template <class K>
void launch(const K& kernel) {
  if (tape::Tape* tape = tape::recording()) tape->record(kernel);
  pybind11::gil_scoped_release unlocked;
  run(kernel);
}

template <class K>
void launch_borrowing(const K& kernel) {
  pybind11::gil_scoped_release unlocked;
  BorrowedThreads::run(kernel);
}

#endif

}  // namespace fnn::bindings
