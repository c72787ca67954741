// DLPack's structures, as its version 1.3 lays them out in memory (https://dmlc.github.io/dlpack): how frameworks show
// each other where a tensor lies. Names and order of the members are DLPack's.
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>

namespace fnn::bindings::dlpack {

namespace py = pybind11;

struct Device {
  std::int32_t device_type, device_id;
};
struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: C-contiguous, before version 1.2
  std::uint64_t byte_offset;
};

struct ManagedTensor {  // in capsules named "dltensor"
  Tensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(ManagedTensor*);
};
struct Version {
  std::uint32_t major, minor;
};
struct ManagedTensorVersioned {  // in capsules named "dltensor_versioned"
  Version version;
  void* manager_ctx;
  void (*deleter)(ManagedTensorVersioned*);
  std::uint64_t flags;
  Tensor dl_tensor;
};
inline constexpr std::uint64_t kReadOnly = 1;  // in flags
inline constexpr std::int32_t kCpu = 1;        // device types
inline constexpr std::int32_t kCuda = 2;
inline constexpr std::uint8_t kFloat = 2;  // a code

// Shows the tensor that a Python object holds, without taking part in its ownership; -1 with a Python error set.
using ShowTensor = int (*)(void* py_object, Tensor* out);

// A framework's functions, in the capsule `type(tensor).__dlpack_c_exchange_api__`.
struct ExchangeApi {
  Version version;
  ExchangeApi* prev_api;  // of an older major version, or null
  void* managed_tensor_allocator;
  void* managed_tensor_from_py_object_no_sync;
  void* managed_tensor_to_py_object_no_sync;
  ShowTensor dltensor_from_py_object_no_sync;
  void* current_work_stream;
};

// The function in the first table of version 1; null if there is none.
inline ShowTensor exchange_function(py::handle tensor_type) {
  const py::object capsule = py::getattr(tensor_type, "__dlpack_c_exchange_api__", py::none());
  if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return nullptr;
  const auto* api = static_cast<ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  while (api != nullptr && api->version.major != 1) api = api->prev_api;
  return api != nullptr ? api->dltensor_from_py_object_no_sync : nullptr;
}

}  // namespace fnn::bindings::dlpack
