// Running a kernel from Python: without the GIL, on the thread team or borrowed threads; a tape that is recording takes
// a copy.
#pragma once
#include <pybind11/pybind11.h>

#include "base/borrowed_threads.h"
#include "base/kernel.h"
#include "tape/tape.h"

namespace fnn::bindings {

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

}  // namespace fnn::bindings
