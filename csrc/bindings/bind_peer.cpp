// GPUs of several processes: the links of a ring, and copies through memory of the host. Arrays come as addresses that
// fastnn._arrays has looked up.
#include <string>

#include "bindings/convert.h"
#include "bindings/stream.h"
#include "cuda/peer_link.h"

namespace fnn::bindings {
namespace {

using cuda::DeviceMemory, cuda::PeerLink;

void* pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

void receive(PeerLink& link, std::int64_t message, std::uintptr_t own, std::uintptr_t out, std::int64_t count, int type,
             int combine, int divisor) {
  const cuda::PeerCombine call{
      nullptr, pointer(own), pointer(out), count, static_cast<comm::Type>(type), static_cast<comm::Combine>(combine),
      divisor};
  link.receive(message, call, current_stream());
}

}  // namespace

void bind_peer(py::module_& module) {
  using py::arg;
  py::class_<PeerLink>(module, "PeerLink", py::module_local())
      .def(py::init<int, std::int64_t>(), arg("slots"), arg("slot_bytes"))
      .def_property_readonly("slots", &PeerLink::slots)
      .def_property_readonly("slot_bytes", &PeerLink::slot_bytes)
      .def("passport", [](const PeerLink& link) { return py::bytes(link.passport()); })
      .def("connect", &PeerLink::connect, arg("next"), arg("previous"))
      .def(
          "send",
          [](PeerLink& link, std::int64_t message, std::uintptr_t source, std::int64_t bytes) {
            link.send(message, pointer(source), bytes, current_stream());
          },
          arg("message"), arg("source"), arg("bytes"))
      .def("receive", &receive, arg("message"), arg("own"), arg("out"), arg("count"), arg("type"), arg("combine"),
           arg("divisor"));
  py::class_<DeviceMemory>(module, "DeviceMemory", py::module_local())
      .def(py::init<std::int64_t>(), arg("bytes"))
      .def_property_readonly("address",
                             [](const DeviceMemory& memory) { return reinterpret_cast<std::uintptr_t>(memory.data()); })
      .def_property_readonly("bytes", &DeviceMemory::bytes);
  module.def(
      "copy_memory",
      [](std::uintptr_t to, std::uintptr_t from, std::int64_t bytes) {
        cuda::copy(pointer(to), pointer(from), bytes, current_stream());
      },
      arg("to"), arg("source"), arg("bytes"), "On the current stream, from or to memory of the host, too.");
  module.def("synchronize", [] {
    const cudaStream_t stream = current_stream();  // by Python, perhaps: with its lock
    py::gil_scoped_release unlocked;
    cuda::synchronize(stream);
  });
  module.def(
      "pin_memory", [](std::uintptr_t memory, std::int64_t bytes) { return cuda::pin(pointer(memory), bytes); },
      arg("memory"), arg("bytes"), "False if the memory can't be pinned.");
  module.def("unpin_memory", [](std::uintptr_t memory) { cuda::unpin(pointer(memory)); }, arg("memory"));
}

}  // namespace fnn::bindings
