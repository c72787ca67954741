#include "bindings/array_lists.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

#include "bindings/given_array.h"

namespace fnn::bindings {

template <class Length, class Stride>
void Layout::set(int axes, const Length* lengths, const Stride* bytes, std::int64_t item_size) {
  rank = axes;
  count = 1;
  for (int i = 0; i < axes; ++i) count *= lengths[i];
  for (int i = 0; i < axes; ++i) {
    shape[i] = lengths[i];
    strides[i] = count == 0 || lengths[i] == 1 ? 0 : bytes[i] / item_size;
  }
}

bool Layout::equals(const Layout& other) const {
  return rank == other.rank && std::equal(shape, shape + rank, other.shape) &&
         std::equal(strides, strides + rank, other.strides);
}

bool Layout::dense() const {
  if (count == 0) return true;
  std::int64_t step = 1;
  int axis = rank - 1;
  while (axis >= 0 && (shape[axis] == 1 || strides[axis] == step)) step *= shape[axis--];
  if (axis < 0) return true;  // in C order
  int axes[kMaxRank], found = 0;
  for (int i = 0; i < rank; ++i)
    if (shape[i] != 1) axes[found++] = i;
  std::sort(axes, axes + found, [this](int a, int b) { return strides[a] < strides[b]; });
  step = 1;
  for (int i = 0; i < found; ++i) {
    if (strides[axes[i]] != step) return false;
    step *= shape[axes[i]];
  }
  return true;
}

namespace {

// What an array looks like; dtype as NumPy names it.
struct Seen {
  const char* dtype;
  const void* data;
  Layout layout;
  std::int32_t device = 0;  // its number
};

struct Kind {
  const char* dtype;
  int item_size;
};
constexpr Kind kUnknown = {nullptr, 1};

Kind numpy_kind(const py::detail::PyArrayDescr_Proxy* descriptor) {
  using py::detail::npy_api;
  constexpr int kHalf = 23, kFirstUserType = 256;
  if (descriptor->byteorder == (PY_LITTLE_ENDIAN ? '>' : '<')) return kUnknown;
  switch (descriptor->type_num) {
    case npy_api::NPY_FLOAT_:
      return {"float32", 4};
    case kHalf:
      return {"float16", 2};
    case npy_api::NPY_USHORT_:
      return {"uint16", 2};
    case npy_api::NPY_UBYTE_:
      return {"uint8", 1};
    case npy_api::NPY_BYTE_:
      return {"int8", 1};
    default:
      break;
  }
  if (descriptor->type_num < kFirstUserType) return kUnknown;  // bfloat16 is ml_dtypes'
  const auto* type = reinterpret_cast<const PyTypeObject*>(descriptor->typeobj);
  const char* last = std::strrchr(type->tp_name, '.');
  return std::strcmp(last != nullptr ? last + 1 : type->tp_name, "bfloat16") == 0 ? Kind{"bfloat16", 2} : kUnknown;
}

Kind dlpack_kind(const dlpack::DataType& dtype) {
  constexpr int kInt = 0, kUnsigned = 1, kBfloat = 4;
  if (dtype.lanes != 1) return kUnknown;
  switch (dtype.code << 8 | dtype.bits) {
    case dlpack::kFloat << 8 | 32:
      return {"float32", 4};
    case dlpack::kFloat << 8 | 16:
      return {"float16", 2};
    case kBfloat << 8 | 16:
      return {"bfloat16", 2};
    case kUnsigned << 8 | 16:
      return {"uint16", 2};
    case kUnsigned << 8 | 8:
      return {"uint8", 1};
    case kInt << 8 | 8:
      return {"int8", 1};
    default:
      return kUnknown;
  }
}

bool see_numpy(py::handle object, bool written, Seen* seen) {
  using py::detail::npy_api;
  const auto* proxy = py::detail::array_proxy(object.ptr());
  const Kind kind = numpy_kind(py::detail::array_descriptor_proxy(proxy->descr));
  const int flags = npy_api::NPY_ARRAY_ALIGNED_ | (written ? static_cast<int>(npy_api::NPY_ARRAY_WRITEABLE_) : 0);
  if (kind.dtype == nullptr || (proxy->flags & flags) != flags || proxy->nd > kMaxRank) return false;
  for (int i = 0; i < proxy->nd; ++i)
    if (proxy->strides[i] % kind.item_size != 0) return false;
  seen->dtype = kind.dtype;
  seen->data = proxy->data;
  seen->layout.set(proxy->nd, proxy->dimensions, proxy->strides, kind.item_size);
  return true;
}

#ifdef FNN_CUDA
// An array that shows itself by __cuda_array_interface__, and by its attribute `device` on which GPU it is.
bool see_interface(py::handle object, bool written, Seen* seen) {
  GivenArray given;
  if (!read_device_array(object, given) || given.name == nullptr) return false;
  const RawArray& array = given.array;
  if (!given.numeric || !given.aligned || (written && !given.writable) || array.rank > kMaxRank) return false;
  for (int i = 0; i < array.rank; ++i)
    if (array.strides[i] % array.item_size != 0) return false;
  seen->dtype = given.name;
  seen->data = array.data;
  seen->layout.set(array.rank, array.shape, array.strides, array.item_size);
  const py::object number = py::getattr(py::getattr(object, "device", py::none()), "id", py::none());
  seen->device = number.is_none() ? 0 : number.cast<std::int32_t>();
  return true;
}
#endif

constexpr std::int32_t kDevice = kOnHost ? dlpack::kCpu : dlpack::kCuda;  // of arrays that can be seen

bool see_tensor(py::handle object, dlpack::ShowTensor show, Seen* seen) {
  dlpack::Tensor tensor;
  if (show(object.ptr(), &tensor) != 0) {
    PyErr_Clear();
    return false;
  }
  const Kind kind = dlpack_kind(tensor.dtype);
  if (kind.dtype == nullptr || tensor.device.device_type != kDevice || tensor.ndim > kMaxRank) return false;
  seen->dtype = kind.dtype;
  seen->data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
  seen->device = tensor.device.device_id;
  std::int64_t in_c_order[kMaxRank], step = 1;
  for (int i = tensor.ndim - 1; i >= 0; step *= tensor.shape[i--]) in_c_order[i] = step;
  seen->layout.set(tensor.ndim, tensor.shape, tensor.strides != nullptr ? tensor.strides : in_c_order, 1);
  return true;
}

}  // namespace

std::unique_ptr<ArrayLists> ArrayLists::of(const py::list& lists, const std::string& roles, py::handle tensor_type) {
  const bool tensors = !tensor_type.is_none();
  const dlpack::ShowTensor show = tensors ? dlpack::exchange_function(tensor_type) : nullptr;
  auto* const type = reinterpret_cast<PyTypeObject*>(tensor_type.ptr());
  const std::size_t count = lists.size();
  if (count == 0 || roles.size() != count) fail("ArrayLists.of", "roles", "a letter for each list", roles);
  std::vector<PyObject**> items;
  Py_ssize_t length = -1;
  for (const py::handle list : lists) {
    if (!PyList_Check(list.ptr()) && !PyTuple_Check(list.ptr())) return nullptr;
    if (length >= 0 && PySequence_Fast_GET_SIZE(list.ptr()) != length) return nullptr;
    length = PySequence_Fast_GET_SIZE(list.ptr());
    items.push_back(PySequence_Fast_ITEMS(list.ptr()));
  }
  auto found = std::make_unique<ArrayLists>();
  found->length_ = length;
  found->dtypes_.assign(count, "");
  found->entries_.resize(count * static_cast<std::size_t>(length));
  Seen first, other;
  for (Py_ssize_t i = 0; i < length; ++i) {
    for (std::size_t k = 0; k < count; ++k) {
      const py::handle object = items[k][i];
      Seen* const seen = k == 0 ? &first : &other;
      if (kOnHost && py::isinstance<py::array>(object)) {
        if (!see_numpy(object, roles[k] != 'r', seen)) return nullptr;
      } else if (show != nullptr && PyObject_TypeCheck(object.ptr(), type)) {
        if (!see_tensor(object, show, seen)) return nullptr;
      } else {
#ifdef FNN_CUDA
        if ((tensors && PyObject_TypeCheck(object.ptr(), type)) || !see_interface(object, roles[k] != 'r', seen))
#endif
          return nullptr;
      }
      if (i == 0 && k == 0) found->device_ = seen->device;
      if (!kOnHost && seen->device != found->device_) return nullptr;
      if (k == 0 || roles[k] == 's' ? !seen->layout.dense() : !seen->layout.equals(first.layout)) return nullptr;
      const char*& dtype = found->dtypes_[k];
      if (i == 0) dtype = seen->dtype;
      if (dtype != seen->dtype && std::strcmp(dtype, seen->dtype) != 0) return nullptr;
      Entry& entry = found->entries_[k * static_cast<std::size_t>(length) + static_cast<std::size_t>(i)];
      entry = {static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(seen->data)), seen->layout.count};
    }
  }
  return found;
}

int ArrayLists::difference(const ArrayLists& other) const {
  if (length_ != other.length_ || dtypes_.size() != other.dtypes_.size() || device_ != other.device_) return -2;
  int found = -1;
  for (std::size_t k = 0; k < dtypes_.size(); ++k) {
    if (std::strcmp(dtypes_[k], other.dtypes_[k]) != 0) return -2;
    const auto begin = static_cast<std::ptrdiff_t>(k) * length_;
    const bool same =
        std::equal(entries_.begin() + begin, entries_.begin() + begin + length_, other.entries_.begin() + begin,
                   [](const Entry& a, const Entry& b) { return a.address == b.address && a.count == b.count; });
    if (!same) {
      if (found >= 0) return -2;
      found = static_cast<int>(k);
    }
  }
  return found;
}

std::vector<std::string> ArrayLists::dtypes() const { return {dtypes_.begin(), dtypes_.end()}; }

py::object ArrayLists::column(int list, std::int64_t Entry::* field) const {
  if (list < 0 || static_cast<std::size_t>(list) >= dtypes_.size())
    fail("ArrayLists", "list", "below " + std::to_string(dtypes_.size()), std::to_string(list));
  py::array_t<std::int64_t> values(length_);
  const Entry* entries = entries_.data() + list * length_;
  for (std::int64_t i = 0; i < length_; ++i) values.mutable_data()[i] = entries[i].*field;
  return values;
}

void bind_array_lists(py::module_& module) {
  using py::arg;
  py::class_<ArrayLists>(module, "ArrayLists", py::module_local())
      .def_static("of", &ArrayLists::of, arg("lists"), arg("roles"), arg("tensor_type"))
      .def("difference", &ArrayLists::difference, arg("other"))
      .def("addresses", &ArrayLists::addresses, arg("list"))
      .def("counts", &ArrayLists::counts, arg("list"))
      .def_property_readonly("dtypes", &ArrayLists::dtypes)
      .def_property_readonly("device", &ArrayLists::device)
      .def_property_readonly("key", &ArrayLists::key);
}

}  // namespace fnn::bindings
