// XLA's handlers as the capsules that jax.ffi.register_ffi_target takes.
#include <pybind11/pybind11.h>

#include "xla/optimizer.h"

namespace fnn::bindings {
namespace {

namespace py = pybind11;

py::dict xla_handlers() {
  py::dict handlers;
  for (const xla::NamedHandler* entry = xla::kOptimizerHandlers; entry->name != nullptr; ++entry) {
    handlers[entry->name] = py::capsule(reinterpret_cast<void*>(entry->handler));
  }
  return handlers;
}

}  // namespace

void bind_xla(py::module_& module) {
  module.def("xla_handlers", &xla_handlers, "The optimizers' handlers for XLA's calls of foreign functions, by name.");
}

}  // namespace fnn::bindings
