// The argument `labels` of every kernel that indexes a row with it, checked: an index outside of the row is a wild
// read.
#pragma once
#include <string>

#include "bindings/convert.h"

namespace fnn::bindings {

inline const std::int32_t* label_argument(Border& border, py::handle labels, const RawArray& pred) {
  const std::int64_t rows = pred.shape[0], cols = pred.shape[1];
  const Array<const std::int32_t> array = border.in<std::int32_t>("labels", labels, {rows});
  if constexpr (!kOnHost) return array.ptr();  // kernels on the GPU take a label outside of the row for none
  std::int32_t outside = 0;
  for (std::int64_t i = 0; i < rows; ++i) outside |= array.ptr()[i] < 0 || array.ptr()[i] >= cols;
  for (std::int64_t i = 0; outside && i < rows; ++i) {
    const std::int32_t label = array.ptr()[i];
    if (label >= 0 && label < cols) continue;
    border.fail("labels", "in [0, " + std::to_string(cols) + ")",
                std::to_string(label) + " at index " + std::to_string(i));
  }
  return array.ptr();
}

}  // namespace fnn::bindings
