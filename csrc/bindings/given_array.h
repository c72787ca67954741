// An array as Python gives it, before anything is asked of it.
#pragma once
#include <string>

#include "bindings/convert.h"

namespace fnn::bindings {

struct GivenArray {
  RawArray array;  // its shape and strides only up to kMaxRank axes
  DType dtype = DType::other;
  const char* name = nullptr;  // of the dtype, as NumPy calls it; only of one on the GPU, and where it's known
  bool numeric = true;         // elements are plain bytes in this machine's order, no references to objects
  bool contiguous = false, aligned = false, writable = false;
};

// One of NumPy's. False if the object is none.
bool read_numpy_array(py::handle object, GivenArray& given);
// For messages: "float32 of shape (2, 3)", or what else the object is.
std::string numpy_array_text(py::handle object);

// One on the GPU, through __cuda_array_interface__: of CuPy, of torch, of whoever has it. In the CUDA extension only.
bool read_device_array(py::handle object, GivenArray& given);
std::string device_array_text(py::handle object);

}  // namespace fnn::bindings
