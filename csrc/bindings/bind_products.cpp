// How products are computed on a GPU: precision, cuBLASLt or own kernels, and how those cut the work.
#include <string>
#include <vector>

#include "bindings/convert.h"
#include "cuda/cublaslt_library.h"
#include "cuda/gemm.h"

namespace fnn::bindings {
namespace {

// The number of a name among `names`.
template <std::size_t kCount>
int number_of(const char* function, const char* argument, const char* const (&names)[kCount], const std::string& name) {
  std::string wanted;
  for (std::size_t i = 0; i < kCount; ++i) {
    if (name == names[i]) return static_cast<int>(i);
    wanted += std::string(i == 0 ? "" : i + 1 < kCount ? ", " : " or ") + "'" + names[i] + "'";
  }
  fail(function, argument, wanted, "'" + name + "'");
}

void set_compute(const std::string& compute) {
  cuda::set_compute(static_cast<cuda::Compute>(number_of("set_compute", "compute", cuda::kComputeNames, compute)));
}

void set_gemm_backend(const std::string& backend) {
  const int number = number_of("set_gemm_backend", "backend", cuda::kGemmBackendNames, backend);
  cuda::gemm_backend_setting = static_cast<cuda::GemmBackend>(number);
}

py::dict gemm_backend() {
  using py::arg;
  const cuda::lt::Library& library = cuda::lt::library();
  const auto setting = static_cast<int>(cuda::gemm_backend_setting.load());
  return py::dict(arg("setting") = cuda::kGemmBackendNames[setting], arg("cublaslt") = library.path,
                  arg("version") = library ? library.GetVersion() : 0, arg("why_not") = library.why);
}

void set_gemm_plan(py::handle tile, int splits) {
  if (tile.is_none()) return cuda::set_gemm_plan({});
  const int rows = py::isinstance<py::int_>(tile) ? tile.cast<int>() : 0;
  if (rows != 32 && rows != 64 && rows != 128)
    fail("set_gemm_plan", "tile", "None, 32, 64 or 128", std::string(py::str(tile)));
  if (splits < 1 || splits > 1024) fail("set_gemm_plan", "splits", "1 to 1024", std::to_string(splits));
  const cuda::TileSize size = rows == 32   ? cuda::TileSize::small
                              : rows == 64 ? cuda::TileSize::medium
                                           : cuda::TileSize::large;
  cuda::set_gemm_plan(cuda::GemmPlan{size, splits});
}

// Where NVIDIA's wheels have their libraries: folders of the namespace package nvidia.
std::vector<std::string> wheel_folders() {
  std::vector<std::string> folders;
  try {
    for (const py::handle place : py::module_::import("nvidia").attr("__path__"))
      for (const char* wheel : {"/cu13/lib", "/cublas/lib"}) folders.push_back(std::string(py::str(place)) + wheel);
  } catch (const py::error_already_set&) {  // none is installed
  }
  return folders;
}

}  // namespace

void bind_products(py::module_& module) {
  using py::arg;
  cuda::lt::set_folders(wheel_folders());
  module.def("compute", [] { return cuda::kComputeNames[static_cast<int>(cuda::compute())]; });
  module.def("set_compute", &set_compute, arg("compute"));
  module.def("gemm_backend", &gemm_backend);
  module.def("set_gemm_backend", &set_gemm_backend, arg("backend"));
  module.def("set_gemm_plan", &set_gemm_plan, arg("tile"), arg("splits") = 1);
}

}  // namespace fnn::bindings
