// The threads that kernels run on.
#include <string>

#include "base/borrowed_threads.h"
#include "base/thread_team.h"
#include "bindings/convert.h"

namespace fnn::bindings {
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

void bind_threads(py::module_& module) {
  module.def("num_threads", [] { return ThreadTeam::instance().size(); });
  module.def("set_num_threads", &set_num_threads, py::arg("threads"));
  module.def("borrow_threads", &borrow_threads, py::arg("parallel"), py::arg("thread_num"), py::arg("num_threads"),
             py::arg("max_threads"));
}

}  // namespace fnn::bindings
