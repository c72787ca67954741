// The arrays that most calls get, described without a detour through Python: float32 in C order on the CPU, of NumPy or
// of a framework that shows its tensors by DLPack's exchange API. What isn't is left to fastnn/_arrays.py, messages
// too.
#pragma once
#include <pybind11/numpy.h>

#include <cstdint>
#include <vector>

#include "bindings/convert.h"
#include "bindings/dlpack.h"

namespace fnn::bindings {

class OrdinaryArrays {
 public:
  using List = std::vector<PyObject*>;

  // tensor_type: of the framework, or None.
  explicit OrdinaryArrays(py::handle tensor_type) : type_(reinterpret_cast<PyTypeObject*>(tensor_type.ptr())) {
    if (!tensor_type.is_none()) show_ = dlpack::exchange_function(tensor_type);
  }

  // The entries of a list or tuple.
  bool look_at(py::handle list, List* entries) const {
    if (!PyList_Check(list.ptr()) && !PyTuple_Check(list.ptr())) return false;
    PyObject** items = PySequence_Fast_ITEMS(list.ptr());
    entries->assign(items, items + PySequence_Fast_GET_SIZE(list.ptr()));
    return true;
  }

  // Whether the object is such an array; writable, if it's written.
  bool describe(py::handle object, bool written, RawArray* array) const {
    if (py::isinstance<py::array>(object)) return describe_numpy(object, written, array);
    return show_ != nullptr && PyObject_TypeCheck(object.ptr(), type_) && describe_tensor(object, array);
  }

 private:
  static bool describe_numpy(py::handle object, bool written, RawArray* array) {
    using py::detail::npy_api;
    const auto* proxy = py::detail::array_proxy(object.ptr());
    const auto* descriptor = py::detail::array_descriptor_proxy(proxy->descr);
    const int flags = npy_api::NPY_ARRAY_C_CONTIGUOUS_ | npy_api::NPY_ARRAY_ALIGNED_ |
                      (written ? static_cast<int>(npy_api::NPY_ARRAY_WRITEABLE_) : 0);
    if (descriptor->type_num != npy_api::NPY_FLOAT_ || descriptor->byteorder == (PY_LITTLE_ENDIAN ? '>' : '<') ||
        (proxy->flags & flags) != flags || proxy->nd > kMaxRank)
      return false;
    array->data = proxy->data;
    array->rank = proxy->nd;
    for (int i = 0; i < proxy->nd; ++i) array->shape[i] = proxy->dimensions[i];
    return true;
  }

  bool describe_tensor(py::handle object, RawArray* array) const {
    dlpack::Tensor tensor;
    if (show_(object.ptr(), &tensor) != 0) {
      PyErr_Clear();
      return false;
    }
    const bool float32 = tensor.dtype.code == dlpack::kFloat && tensor.dtype.bits == 32 && tensor.dtype.lanes == 1;
    if (!float32 || tensor.device.device_type != dlpack::kCpu || tensor.ndim > kMaxRank) return false;
    array->data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    array->rank = tensor.ndim;
    std::int64_t step = 1;
    for (int i = tensor.ndim - 1; i >= 0; --i) {
      array->shape[i] = tensor.shape[i];
      if (tensor.strides != nullptr && tensor.shape[i] > 1 && tensor.strides[i] != step) return false;
      step *= tensor.shape[i];
    }
    return true;
  }

  PyTypeObject* type_;
  dlpack::ShowTensor show_ = nullptr;
};

}  // namespace fnn::bindings
