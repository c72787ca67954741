#include "bindings/table_formats.h"

#include <string>

#include "bindings/convert.h"

namespace fnn::bindings {
namespace {

constexpr const char* kFunction = "TensorTable.of_addresses";

std::string dtype_name(const py::dict& dtypes, const char* array) {
  return dtypes.contains(array) ? py::str(dtypes[array]).cast<std::string>() : "float32";
}

[[noreturn]] void refuse_dtype(const std::string& array, const char* wanted, const std::string& given) {
  fail(kFunction, "dtypes[" + array + "]", wanted, given);
}

cpu::Format float_format(const char* array, const std::string& name) {
  if (name == "float32") return cpu::Format::float32;
  if (name == "bfloat16") return cpu::Format::bfloat16;
  if (name == "float16") return cpu::Format::float16;
  refuse_dtype(array, "float32, bfloat16 or float16", name);
}

cpu::Format state_format(const std::string& name) {
  if (name == "signed8") return cpu::Format::signed8;
  if (name == "unsigned8") return cpu::Format::unsigned8;
  if (name != "float32" && name != "bfloat16" && name != "float16")
    refuse_dtype("states", "float32, bfloat16, float16, signed8 or unsigned8", name);
  return float_format("states", name);
}

cpu::Master master_kind(cpu::Format param, const std::string& dtype, bool masters, bool stochastic) {
  if (!masters && !stochastic) return cpu::Master::none;
  if (param == cpu::Format::float32)
    fail(kFunction, masters ? "masters" : "seed", "None, since params are float32", "something else");
  if (!masters) return cpu::Master::stochastic;
  if (stochastic) fail(kFunction, "seed", "None with masters, which lose nothing by rounding", "a number");
  if (dtype == "float32") return cpu::Master::copy;
  if (dtype != "uint16" || param != cpu::Format::bfloat16)
    refuse_dtype("masters", "float32, or uint16 where params are bfloat16", dtype);
  return cpu::Master::remainder;
}

}  // namespace

cpu::Formats table_formats(const py::dict& dtypes, int slots, bool masters, py::handle seed) {
  cpu::Formats formats;
  formats.param = float_format("params", dtype_name(dtypes, "params"));
  formats.grad = float_format("grads", dtype_name(dtypes, "grads"));
  formats.master = master_kind(formats.param, dtype_name(dtypes, "masters"), masters, !seed.is_none());
  if (!seed.is_none()) formats.seed = seed.cast<std::uint64_t>();
  if (!dtypes.contains("states")) return formats;
  const auto states = dtypes["states"].cast<py::sequence>();
  if (static_cast<int>(states.size()) != slots)
    refuse_dtype("states", ("one of each list of states, " + std::to_string(slots)).c_str(),
                 std::to_string(states.size()));
  for (int k = 0; k < slots; ++k)
    formats.slots[k] = state_format(py::str(states[static_cast<std::size_t>(k)]).cast<std::string>());
  return formats;
}

}  // namespace fnn::bindings
