// Running a kernel from Python: without the GIL, on the thread team.
#pragma once
#include <pybind11/pybind11.h>

#include "base/kernel.h"

namespace fnn::bindings {

template <class K>
void launch(const K& kernel) {
  pybind11::gil_scoped_release unlocked;
  run(kernel);
}

}  // namespace fnn::bindings
