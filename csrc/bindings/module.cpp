// The extension module: one shared object per instruction-set level, all from the same sources.
#include <pybind11/pybind11.h>

#include "base/borrowed_threads.h"
#include "base/thread_team.h"
#include "bindings/convert.h"

namespace fnn::bindings {
void bind_activations(py::module_& module);
void bind_array_lists(py::module_& module);
void bind_conv(py::module_& module);
void bind_conv_pool(py::module_& module);
void bind_crop_flip(py::module_& module);
void bind_dense(py::module_& module);
void bind_dlpack(py::module_& module);
void bind_dropout(py::module_& module);
void bind_embedding(py::module_& module);
void bind_gather(py::module_& module);
void bind_limits(py::module_& module);
void bind_losses(py::module_& module);
void bind_metrics(py::module_& module);
void bind_norm(py::module_& module);
void bind_optimizer(py::module_& module);
void bind_pool(py::module_& module);
void bind_predictor(py::module_& module);
void bind_reduce(py::module_& module);
void bind_rules(py::module_& module);
void bind_tape(py::module_& module);
void bind_tensor_watch(py::module_& module);
void bind_xla(py::module_& module);

namespace {

void set_num_threads(int threads) {
  if (threads < 1 || threads > 4095) fail("set_num_threads", "threads", "1 to 4095", std::to_string(threads));
  py::gil_scoped_release unlocked;
  ThreadTeam::instance().resize(threads);
}

// The functions of the OpenMP runtime whose threads steps over borrowed tables run on, by their addresses.
void borrow_threads(std::size_t parallel, std::size_t thread_num, std::size_t num_threads, std::size_t max_threads) {
  using Number = int (*)();
  BorrowedThreads::borrow({reinterpret_cast<decltype(OpenMpPool::parallel)>(parallel),
                           reinterpret_cast<Number>(thread_num), reinterpret_cast<Number>(num_threads),
                           reinterpret_cast<Number>(max_threads)});
}

}  // namespace
}  // namespace fnn::bindings

PYBIND11_MODULE(FNN_MODULE_NAME, module) {
  using namespace fnn::bindings;
  module.doc() = "fastnn's CPU kernels for " FNN_ISA_NAME;
  module.def("isa", [] { return FNN_ISA_NAME; });
  module.def("num_threads", [] { return fnn::ThreadTeam::instance().size(); });
  module.def("set_num_threads", &set_num_threads, py::arg("threads"));
  module.def("borrow_threads", &borrow_threads, py::arg("parallel"), py::arg("thread_num"), py::arg("num_threads"),
             py::arg("max_threads"));
  bind_activations(module);
  bind_array_lists(module);
  bind_conv(module);
  bind_conv_pool(module);
  bind_crop_flip(module);
  bind_dense(module);
  bind_dlpack(module);
  bind_dropout(module);
  bind_embedding(module);
  bind_gather(module);
  bind_limits(module);
  bind_losses(module);
  bind_metrics(module);
  bind_norm(module);
  bind_optimizer(module);
  bind_pool(module);
  bind_predictor(module);
  bind_reduce(module);
  bind_rules(module);
  bind_tape(module);
  bind_tensor_watch(module);
  bind_xla(module);
}
