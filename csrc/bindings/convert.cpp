#include "bindings/convert.h"

#include <pybind11/numpy.h>

#include <memory>

#include "tape/tape.h"

namespace fnn::bindings {
namespace {

using py::detail::npy_api;

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f64:
      return "float64";
    case DType::i32:
      return "int32";
    case DType::i64:
      return "int64";
    case DType::u8:
      return "uint8";
    case DType::u16:
      return "uint16";
    case DType::u64:
      return "uint64";
    case DType::other:
      break;
  }
  return "numeric";
}

bool same(DType wanted, int type_num, std::int64_t item_size) {
  switch (wanted) {
    case DType::f32:
      return type_num == npy_api::NPY_FLOAT_;
    case DType::f64:
      return type_num == npy_api::NPY_DOUBLE_;
    case DType::i32:
      return (type_num == npy_api::NPY_INT_ || type_num == npy_api::NPY_LONG_) && item_size == 4;
    case DType::i64:
      return (type_num == npy_api::NPY_LONG_ || type_num == npy_api::NPY_LONGLONG_) && item_size == 8;
    case DType::u8:
      return type_num == npy_api::NPY_UBYTE_;
    case DType::u16:
      return type_num == npy_api::NPY_USHORT_;
    case DType::u64:
      return (type_num == npy_api::NPY_ULONG_ || type_num == npy_api::NPY_ULONGLONG_) && item_size == 8;
    case DType::other:
      return type_num != npy_api::NPY_OBJECT_;
  }
  return false;
}

std::string shape_text(const std::int64_t* shape, int rank) {
  std::string text = "(";
  for (int i = 0; i < rank; ++i) {
    if (i > 0) text += ", ";
    text += shape[i] == kAny ? "any" : std::to_string(shape[i]);
  }
  return text + (rank == 1 ? ",)" : ")");
}

std::string wanted_text(DType dtype, const std::int64_t* wanted, int rank) {
  std::string text = std::string("a ") + name_of(dtype) + " array";
  if (rank >= 0 && wanted != nullptr) return text + " of shape " + shape_text(wanted, rank);
  if (rank >= 0) return text + " of rank " + std::to_string(rank);
  return text;
}

std::string given_text(py::handle object) {
  if (object.is_none()) return "None";
  if (!py::isinstance<py::array>(object)) return std::string(py::str(py::type::of(object).attr("__name__")));
  return std::string(py::str(object.attr("dtype"))) + " of shape " + std::string(py::str(object.attr("shape")));
}

// A reference to a Python object that may be dropped by any thread.
std::shared_ptr<void> hold(py::handle object) {
  return {object.inc_ref().ptr(), [](void* held) {
            py::gil_scoped_acquire lock;
            py::handle(static_cast<PyObject*>(held)).dec_ref();
          }};
}

bool last_axis_contiguous(const RawArray& array) {
  const bool tight = array.shape[1] <= 1 || array.strides[1] == array.item_size;
  const bool forward = array.shape[0] <= 1 || array.strides[0] >= array.shape[1] * array.item_size;
  return tight && forward && array.strides[0] % array.item_size == 0;
}

}  // namespace

void fail(const char* function, const std::string& argument, const std::string& wanted, const std::string& given) {
  throw py::value_error(std::string(function) + ": " + argument + " must be " + wanted + ", got " + given);
}

void keep_while_recorded(py::handle object, const void* data) {
  if (tape::Tape* tape = tape::recording()) tape->keep(hold(object), data);
}

RawArray Border::check(const char* name, py::handle object, DType dtype, const std::int64_t* wanted, int rank,
                       int flags) {
  if (!py::isinstance<py::array>(object)) {
    throw py::type_error(std::string(function_) + ": " + name + " must be " + wanted_text(dtype, wanted, rank) +
                         ", got " + given_text(object) + "; convert it with numpy.asarray first");
  }
  const auto* proxy = py::detail::array_proxy(object.ptr());
  const auto* descriptor = py::detail::array_descriptor_proxy(proxy->descr);
  RawArray array;
  array.data = proxy->data;
  array.rank = proxy->nd;
  array.item_size = py::reinterpret_borrow<py::array>(object).itemsize();
  const bool native = descriptor->byteorder != (PY_LITTLE_ENDIAN ? '>' : '<');
  bool fits = native && same(dtype, descriptor->type_num, array.item_size) && array.rank <= kMaxRank &&
              (rank < 0 || array.rank == rank);
  for (int i = 0; fits && i < array.rank; ++i) {
    array.shape[i] = proxy->dimensions[i];
    array.strides[i] = proxy->strides[i];
    if (wanted != nullptr && rank >= 0 && wanted[i] != kAny && wanted[i] != array.shape[i]) fits = false;
  }
  if (!fits) fail(name, wanted_text(dtype, wanted, rank), given_text(object));
  const bool contiguous = (proxy->flags & npy_api::NPY_ARRAY_C_CONTIGUOUS_) != 0;
  if (!contiguous && !((flags & kStridedRows) && last_axis_contiguous(array))) {
    fail(name, (flags & kStridedRows) ? "contiguous along its last axis" : "C-contiguous",
         given_text(object) + " with strides " + std::string(py::str(object.attr("strides"))) +
             "; pass numpy.ascontiguousarray(" + name + ")");
  }
  if ((proxy->flags & npy_api::NPY_ARRAY_ALIGNED_) == 0) fail(name, "aligned to its item size", "an unaligned array");
  if ((flags & kWritten) && (proxy->flags & npy_api::NPY_ARRAY_WRITEABLE_) == 0) {
    fail(name, "writable, since the result goes there", "a read-only array");
  }
  remember(name, array, flags);
  keep_while_recorded(object, array.data);
  return array;
}

void Border::remember(const char* name, const RawArray& array, int flags) {
  if (array.count() == 0) return;
  std::int64_t bytes = array.item_size;
  for (int i = 0; i < array.rank; ++i) bytes += (array.shape[i] - 1) * array.strides[i];
  const auto begin = reinterpret_cast<std::uintptr_t>(array.data);
  extents_[count_++] = {name, begin, begin + static_cast<std::uintptr_t>(bytes), flags};
}

void Border::done() const {
  for (int i = 0; i < count_; ++i) {
    for (int j = i + 1; j < count_; ++j) {
      const Extent &a = extents_[i], &b = extents_[j];
      if (((a.flags | b.flags) & kWritten) == 0 || a.end <= b.begin || b.end <= a.begin) continue;
      const bool same_memory = a.begin == b.begin && a.end == b.end;
      const bool allowed = ((a.flags & kWritten) == 0 || (a.flags & kMayCoincide)) &&
                           ((b.flags & kWritten) == 0 || (b.flags & kMayCoincide));
      if (same_memory && allowed) continue;
      const Extent& written = (b.flags & kWritten) ? b : a;
      const Extent& other = (b.flags & kWritten) ? a : b;
      fail(written.name, std::string("memory apart from ") + other.name, "arrays that overlap");
    }
  }
}

}  // namespace fnn::bindings
