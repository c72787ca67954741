// Reads arrays on the GPU through __cuda_array_interface__, version 2 or 3
// (https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html). Its entry `stream` isn't waited for: kernels
// run on the current stream, on which the array must be ready.
#include "bindings/given_array.h"

namespace fnn::bindings {
namespace {

constexpr const char* kInterface = "__cuda_array_interface__";

struct NamedType {
  const char* code;  // of a typestr, without its byte order
  const char* name;
  DType dtype;
};
constexpr NamedType kTypes[] = {
    {"f4", "float32", DType::f32},     {"f8", "float64", DType::f64},       {"i4", "int32", DType::i32},
    {"i8", "int64", DType::i64},       {"u1", "uint8", DType::u8},          {"u2", "uint16", DType::u16},
    {"u8", "uint64", DType::u64},      {"f2", "float16", DType::other},     {"i1", "int8", DType::other},
    {"i2", "int16", DType::other},     {"u4", "uint32", DType::other},      {"b1", "bool", DType::other},
    {"c8", "complex64", DType::other}, {"c16", "complex128", DType::other},
};

const NamedType* named_type(const std::string& typestr) {
  for (const NamedType& type : kTypes)
    if (typestr.compare(1, std::string::npos, type.code) == 0) return &type;
  return nullptr;
}

// As NumPy says: axes of length 1, and arrays without elements, have no strides that matter.
bool is_contiguous(const RawArray& array) {
  if (array.count() == 0) return true;
  std::int64_t expected = array.item_size;
  for (int i = array.rank - 1; i >= 0; --i) {
    if (array.shape[i] == 1) continue;
    if (array.strides[i] != expected) return false;
    expected *= array.shape[i];
  }
  return true;
}

void read_axes(const py::dict& interface, RawArray& array) {
  const auto shape = interface["shape"].cast<py::tuple>();
  array.rank = static_cast<int>(shape.size());
  if (array.rank > kMaxRank) return;
  const py::object strides = interface.contains("strides") ? py::object(interface["strides"]) : py::none();
  std::int64_t tight = array.item_size;
  for (int i = array.rank - 1; i >= 0; --i) {
    const auto axis = static_cast<std::size_t>(i);
    array.shape[i] = shape[axis].cast<std::int64_t>();
    array.strides[i] = strides.is_none() ? tight : strides.cast<py::tuple>()[axis].cast<std::int64_t>();
    tight *= array.shape[i];
  }
}

}  // namespace

bool read_device_array(py::handle object, GivenArray& given) {
  if (!py::hasattr(object, kInterface)) return false;
  const py::dict interface = object.attr(kInterface);
  const auto typestr = interface["typestr"].cast<std::string>();
  const auto data = interface["data"].cast<py::tuple>();
  RawArray& array = given.array;
  array.data = reinterpret_cast<void*>(data[0].cast<std::uintptr_t>());
  array.item_size = std::stoll(typestr.substr(2));
  read_axes(interface, array);
  const NamedType* type = named_type(typestr);
  if (type != nullptr) given.dtype = type->dtype, given.name = type->name;
  given.numeric = typestr[0] != (PY_LITTLE_ENDIAN ? '>' : '<') && typestr[1] != 'O';
  given.contiguous = array.rank <= kMaxRank && is_contiguous(array);
  given.aligned = reinterpret_cast<std::uintptr_t>(array.data) % static_cast<std::uintptr_t>(array.item_size) == 0;
  given.writable = !data[1].cast<bool>();
  return true;
}

std::string device_array_text(py::handle object) {
  if (!py::hasattr(object, kInterface)) {
    const std::string text = numpy_array_text(object);
    return text.find(" of shape ") == std::string::npos ? text : text + " in the CPU's memory";
  }
  const py::dict interface = object.attr(kInterface);
  const auto typestr = interface["typestr"].cast<std::string>();
  const NamedType* type = named_type(typestr);
  return (type != nullptr ? type->name : "dtype " + typestr) + " of shape " + std::string(py::str(interface["shape"]));
}

}  // namespace fnn::bindings
