// The extension modules: one shared object per instruction-set level and, with FNN_CUDA, one for GPUs, all from the
// same sources.
#include <pybind11/pybind11.h>

#include "bindings/convert.h"

// The groups of functions, each bound by a bind_<group>.cpp. Those for GPUs are those whose kernels csrc/cuda has;
// build_cuda.py lists the files.
// clang-format off
#ifdef FNN_CUDA
#define FNN_GROUPS(bind) \
  bind(activations)      \
  bind(array_lists)      \
  bind(augment)          \
  bind(control)          \
  bind(conv)             \
  bind(conv_pool)        \
  bind(crop_flip)        \
  bind(dense)            \
  bind(dense_update)     \
  bind(device)           \
  bind(dropout)          \
  bind(embedding)        \
  bind(gather)           \
  bind(losses)           \
  bind(metrics)          \
  bind(norm)             \
  bind(optimizer)        \
  bind(peer)             \
  bind(pool)             \
  bind(products)         \
  bind(recurrent)        \
  bind(reduce)           \
  bind(rules)            \
  bind(xla)
#else
#define FNN_GROUPS(bind) \
  bind(activations)      \
  bind(array_lists)      \
  bind(comm)             \
  bind(control)          \
  bind(conv)             \
  bind(conv_pool)        \
  bind(crop_flip)        \
  bind(dense)            \
  bind(dense_update)     \
  bind(dlpack)           \
  bind(dropout)          \
  bind(embedding)        \
  bind(gather)           \
  bind(limits)           \
  bind(losses)           \
  bind(metrics)          \
  bind(norm)             \
  bind(optimizer)        \
  bind(pool)             \
  bind(predictor)        \
  bind(recurrent)        \
  bind(reduce)           \
  bind(rules)            \
  bind(tape)             \
  bind(tensor_watch)     \
  bind(threads)          \
  bind(xla)
#endif
// clang-format on

namespace fnn::bindings {
#define FNN_DECLARE(group) void bind_##group(py::module_& module);
FNN_GROUPS(FNN_DECLARE)
}  // namespace fnn::bindings

PYBIND11_MODULE(FNN_MODULE_NAME, module) {
  using namespace fnn::bindings;
  module.doc() = "fastnn's kernels for " FNN_ISA_NAME;
  module.def("isa", [] { return FNN_ISA_NAME; });
#define FNN_BIND(group) bind_##group(module);
  FNN_GROUPS(FNN_BIND)
}
