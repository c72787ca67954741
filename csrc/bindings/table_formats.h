// What TensorTable.of_addresses is told of how the arrays are stored.
#pragma once
#include <pybind11/pybind11.h>

#include "cpu/tensor_list.h"

namespace fnn::bindings {

namespace py = pybind11;

// Bytes of `count` elements.
inline std::uintptr_t stored_bytes(cpu::Format format, std::int64_t count) {
  const auto elements = static_cast<std::uintptr_t>(count);
  if (format == cpu::Format::float32) return 4 * elements;
  return format == cpu::Format::bfloat16 || format == cpu::Format::float16 ? 2 * elements : elements;
}
inline bool is_8_bit(cpu::Format format) { return format == cpu::Format::signed8 || format == cpu::Format::unsigned8; }
inline std::int64_t scale_count(std::int64_t count) { return (count + cpu::kChunk - 1) / cpu::kChunk; }

// dtypes: {"params": name, "grads": name, "states": a name for each slot, "masters": name}, float32 where nothing is
// said. masters: whether there are any. seed: of stochastic rounding, or None.
cpu::Formats table_formats(const py::dict& dtypes, int slots, bool masters, py::handle seed);

}  // namespace fnn::bindings
