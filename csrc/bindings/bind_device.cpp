// What there is of CUDA, the stream that kernels are enqueued on, and what a captured graph keeps alive.
#include <cstdint>
#include <optional>
#include <vector>

#include "bindings/convert.h"
#include "bindings/stream.h"
#include "cuda/device.h"

namespace fnn::bindings {
namespace {

cudaStream_t stream_at(std::uintptr_t address) { return reinterpret_cast<cudaStream_t>(address); }

// Never destroyed: at exit the interpreter may be gone before static objects.
py::object& stream_source() {
  static auto* source = new py::object(py::none());
  return *source;
}
thread_local std::vector<cudaStream_t> used_streams;

// The list that takes all arrays that kernels are given, or null.
py::object& kept_arrays() {
  static auto* list = new py::object();
  return *list;
}

void set_stream_source(py::object source) {
  if (!source.is_none() && !PyCallable_Check(source.ptr()))
    fail("set_stream_source", "source", "a function without arguments or None", std::string(py::repr(source)));
  stream_source() = std::move(source);
}

// `with use_stream(pointer):`
struct UseStream {
  std::uintptr_t pointer;
  void enter() const { used_streams.push_back(stream_at(pointer)); }
  void exit(const py::args&) const { used_streams.pop_back(); }
};

// `with keep_arrays(list):`
struct KeepArrays {
  py::list list;
  void enter() const {
    if (kept_arrays()) fail("keep_arrays", "one list", "in use at a time", "another");
    kept_arrays() = list;
  }
  void exit(const py::args&) const { kept_arrays() = py::object(); }
};

}  // namespace

cudaStream_t current_stream() {
  if (!used_streams.empty()) return used_streams.back();
  const py::object& source = stream_source();
  return source.is_none() ? nullptr : stream_at(source().cast<std::uintptr_t>());
}

void keep_while_recorded(py::handle object, const void* /*data*/) {
  if (recording()) kept_arrays().cast<py::list>().append(object);
}

bool recording() { return static_cast<bool>(kept_arrays()); }

void bind_device(py::module_& module) {
  module.def("device_count", &cuda::device_count, "GPUs that this process sees, 0 without a driver.");
  module.def("driver_version", &cuda::driver_version,
             "The highest version of CUDA that the driver supports, 1000 * major + 10 * minor; 0 without a driver.");
  module.def("runtime_version", &cuda::runtime_version, "The version of CUDA that this extension was built with.");
  module.def("set_stream_source", &set_stream_source, py::arg("source"),
             "Kernels go to the stream whose address source() returns; None: to CUDA's default stream.");
  module.def("current_stream", [] { return reinterpret_cast<std::uintptr_t>(current_stream()); });
  py::class_<UseStream>(module, "use_stream", "`with use_stream(pointer):` kernels of this thread go to that stream.")
      .def(py::init([](std::uintptr_t pointer) { return UseStream{pointer}; }), py::arg("pointer"))
      .def("__enter__", &UseStream::enter)
      .def("__exit__", &UseStream::exit);
  py::class_<KeepArrays>(module, "keep_arrays",
                         "`with keep_arrays(list):` appends to the list each array that a kernel is given, which a "
                         "captured graph needs for as long as it is replayed.")
      .def(py::init([](py::list list) { return KeepArrays{std::move(list)}; }), py::arg("list"))
      .def("__enter__", &KeepArrays::enter)
      .def("__exit__", &KeepArrays::exit);
}

}  // namespace fnn::bindings
