// gather_rows
#include <cstring>

#include "bindings/convert.h"
#include "bindings/launch.h"
#include "cpu/gather.h"

namespace fnn::bindings {
namespace {

// The same dtype on both sides, and items that are plain bytes: a copied Python object would need its count raised.
#ifdef FNN_CUDA
void check_dtypes(const Border& border, py::handle x, py::handle out) {
  const char* interface = "__cuda_array_interface__";
  const py::object dtype = x.attr(interface)["typestr"], other = out.attr(interface)["typestr"];
  if (dtype.equal(other)) return;
  border.fail("out", "an array of x's dtype, " + std::string(py::str(dtype)), std::string(py::str(other)));
}
#else
void check_dtypes(const Border& border, py::handle x, py::handle out) {
  const py::object dtype = x.attr("dtype"), other = out.attr("dtype");
  const std::string kind = py::str(dtype.attr("kind"));
  if (kind.find_first_of("biufcV") == std::string::npos || dtype.attr("hasobject").cast<bool>()) {
    border.fail("x", "an array of numbers", std::string(py::str(dtype)));
  }
  if (!dtype.equal(other)) {
    border.fail("out", "an array of x's dtype, " + std::string(py::str(dtype)), std::string(py::str(other)));
  }
}
#endif

void gather_rows(py::handle x, py::handle index, py::handle out) {
  Border border("gather_rows");
  const RawArray source = border.in_any_dtype("x", x);
  const auto rows = border.in<std::int64_t>("index", index, {kAny});
  const RawArray target = border.out_any_dtype("out", out);
  check_dtypes(border, x, out);
  if (source.rank == 0) border.fail("x", "an array of rows (at least one axis)", "a scalar array");
  std::int64_t row_bytes = source.item_size;
  bool fits = target.rank == source.rank && target.shape[0] == rows.shape[0];
  for (int i = 1; i < source.rank; ++i) {
    row_bytes *= source.shape[i];
    fits = fits && target.shape[i] == source.shape[i];
  }
  if (!fits) {
    border.fail("out", "an array of " + std::to_string(rows.shape[0]) + " rows of x",
                "shape " + std::string(py::str(out.attr("shape"))));
  }
  border.done();
  const std::int64_t count = rows.shape[0], limit = source.shape[0];
  bool inside = true;  // on the GPU the kernel sets all bits of the row of an index outside
  for (std::int64_t i = 0; kOnHost && i < count; ++i) inside &= rows.ptr()[i] >= 0 && rows.ptr()[i] < limit;
  for (std::int64_t i = 0; !inside && i < count; ++i) {
    if (rows.ptr()[i] >= 0 && rows.ptr()[i] < limit) continue;
    border.fail("index", "row numbers of x, at least 0 and below " + std::to_string(limit),
                std::to_string(rows.ptr()[i]) + " at position " + std::to_string(i));
  }
  launch(cpu::GatherRows{
      {}, static_cast<const char*>(source.data), rows.ptr(), static_cast<char*>(target.data), count, row_bytes, limit});
}

}  // namespace

void bind_gather(py::module_& module) {
  using namespace py::literals;
  module.def("gather_rows", &gather_rows, "x"_a, "index"_a, "out"_a);
}

}  // namespace fnn::bindings
