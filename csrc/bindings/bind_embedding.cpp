// embedding_forward, embedding_backward
#include "bindings/convert.h"
#include "bindings/launch.h"
#include "cpu/embedding.h"

namespace fnn::bindings {
namespace {

// Ids as a flat array of int32 or int64. What lies outside of the table is an error here.
cpu::RowIds ids_argument(Border& border, py::handle object, std::int64_t entries, std::int64_t* count) {
  const bool wide = py::hasattr(object, "dtype") && object.attr("dtype").attr("itemsize").cast<int>() == 8;
  cpu::RowIds ids = {};
  if (wide) {
    const auto array = border.in<std::int64_t>("ids", object, {kAny});
    ids.wide = array.ptr();
    *count = array.count();
  } else {
    const auto array = border.in<std::int32_t>("ids", object, {kAny});
    ids.narrow = array.ptr();
    *count = array.count();
  }
  bool inside = true;  // on the GPU the kernels answer an id outside of the table as their record says
  for (std::int64_t i = 0; kOnHost && i < *count; ++i) inside &= ids[i] >= 0 && ids[i] < entries;
  for (std::int64_t i = 0; !inside && i < *count; ++i) {
    if (ids[i] >= 0 && ids[i] < entries) continue;
    border.fail("ids", "row numbers of the table, at least 0 and below " + std::to_string(entries),
                std::to_string(ids[i]) + " at position " + std::to_string(i));
  }
  return ids;
}

void embedding_forward(py::handle w, py::handle ids, py::handle y) {
  Border border("embedding_forward");
  const auto table = border.in<float>("w", w, {kAny, kAny});
  const std::int64_t entries = table.shape[0], width = table.shape[1];
  std::int64_t count = 0;
  const cpu::RowIds rows = ids_argument(border, ids, entries, &count);
  const auto output = border.out<float>("y", y, {count, width});
  border.done();
  launch(cpu::EmbeddingForward{{}, table.ptr(), rows, output.ptr(), entries, width, count});
}

void embedding_backward(py::handle ids, py::handle dy, py::handle dw, bool accumulate) {
  Border border("embedding_backward");
  const auto gradient = border.out<float>("dw", dw, {kAny, kAny});
  const std::int64_t entries = gradient.shape[0], width = gradient.shape[1];
  std::int64_t count = 0;
  const cpu::RowIds rows = ids_argument(border, ids, entries, &count);
  const auto given = border.in<float>("dy", dy, {count, width});
  border.done();
  launch(cpu::EmbeddingBackward{{}, rows, given.ptr(), gradient.ptr(), entries, width, count, accumulate});
}

}  // namespace

void bind_embedding(py::module_& module) {
  using namespace py::literals;
  module.def("embedding_forward", &embedding_forward, "w"_a, "ids"_a, "y"_a);
  module.def("embedding_backward", &embedding_backward, "ids"_a, "dy"_a, "dw"_a, "accumulate"_a);
}

}  // namespace fnn::bindings
