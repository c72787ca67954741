// What a DLPack capsule says of the tensor in it.
#include "bindings/convert.h"
#include "bindings/dlpack.h"

namespace fnn::bindings {
namespace {

py::dict described(const dlpack::Tensor& tensor, bool read_only) {
  py::tuple shape(tensor.ndim);
  for (int i = 0; i < tensor.ndim; ++i) shape[static_cast<std::size_t>(i)] = tensor.shape[i];
  py::object strides = py::none();
  if (tensor.strides != nullptr) {
    py::tuple elements(tensor.ndim);
    for (int i = 0; i < tensor.ndim; ++i) elements[static_cast<std::size_t>(i)] = tensor.strides[i];
    strides = elements;
  }
  using namespace py::literals;
  return py::dict("address"_a = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset,
                  "device_type"_a = tensor.device.device_type, "code"_a = static_cast<int>(tensor.dtype.code),
                  "bits"_a = static_cast<int>(tensor.dtype.bits), "lanes"_a = tensor.dtype.lanes, "shape"_a = shape,
                  "strides"_a = strides, "read_only"_a = read_only);
}

// The capsule isn't used up: the memory lives as long as it does.
py::dict describe_dlpack(const py::capsule& capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    const auto* managed =
        static_cast<const dlpack::ManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    if (managed->version.major != 1)
      fail("describe_dlpack", "capsule", "of DLPack 1", "version " + std::to_string(managed->version.major));
    return described(managed->dl_tensor, (managed->flags & dlpack::kReadOnly) != 0);
  }
  if (!PyCapsule_IsValid(capsule.ptr(), "dltensor"))
    fail("describe_dlpack", "capsule", "a DLPack capsule that hasn't been used", "another one");
  const auto* managed = static_cast<const dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  return described(managed->dl_tensor, false);  // this form can't say
}

}  // namespace

void bind_dlpack(py::module_& module) { module.def("describe_dlpack", &describe_dlpack, py::arg("capsule")); }

}  // namespace fnn::bindings
