// Reads NumPy's arrays.
#include <pybind11/numpy.h>

#include <algorithm>

#include "bindings/given_array.h"

namespace fnn::bindings {
namespace {

using py::detail::npy_api;

DType dtype_of_number(int type_num, std::int64_t item_size) {
  switch (type_num) {
    case npy_api::NPY_FLOAT_:
      return DType::f32;
    case npy_api::NPY_DOUBLE_:
      return DType::f64;
    case npy_api::NPY_INT_:
    case npy_api::NPY_LONG_:
    case npy_api::NPY_LONGLONG_:
      return item_size == 4 ? DType::i32 : DType::i64;
    case npy_api::NPY_UBYTE_:
      return DType::u8;
    case npy_api::NPY_USHORT_:
      return DType::u16;
    case npy_api::NPY_ULONG_:
    case npy_api::NPY_ULONGLONG_:
      return item_size == 8 ? DType::u64 : DType::other;
    default:
      return DType::other;
  }
}

}  // namespace

bool read_numpy_array(py::handle object, GivenArray& given) {
  if (!py::isinstance<py::array>(object)) return false;
  const auto* proxy = py::detail::array_proxy(object.ptr());
  const auto* descriptor = py::detail::array_descriptor_proxy(proxy->descr);
  RawArray& array = given.array;
  array.data = proxy->data;
  array.rank = proxy->nd;
  array.item_size = py::reinterpret_borrow<py::array>(object).itemsize();
  std::copy_n(proxy->dimensions, std::min(array.rank, kMaxRank), array.shape);
  std::copy_n(proxy->strides, std::min(array.rank, kMaxRank), array.strides);
  given.dtype = dtype_of_number(descriptor->type_num, array.item_size);
  given.numeric =
      descriptor->byteorder != (PY_LITTLE_ENDIAN ? '>' : '<') && descriptor->type_num != npy_api::NPY_OBJECT_;
  given.contiguous = (proxy->flags & npy_api::NPY_ARRAY_C_CONTIGUOUS_) != 0;
  given.aligned = (proxy->flags & npy_api::NPY_ARRAY_ALIGNED_) != 0;
  given.writable = (proxy->flags & npy_api::NPY_ARRAY_WRITEABLE_) != 0;
  return true;
}

std::string numpy_array_text(py::handle object) {
  if (object.is_none()) return "None";
  if (!py::isinstance<py::array>(object)) return std::string(py::str(py::type::of(object).attr("__name__")));
  return std::string(py::str(object.attr("dtype"))) + " of shape " + std::string(py::str(object.attr("shape")));
}

}  // namespace fnn::bindings
