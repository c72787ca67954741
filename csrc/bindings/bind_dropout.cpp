// dropout
#include <cstdio>

#include "bindings/convert.h"
#include "bindings/launch.h"
#include "cpu/dropout.h"

namespace fnn::bindings {
namespace {

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

void dropout(py::handle x, py::handle y, double rate, py::handle state, std::int64_t stream) {
  Border border("dropout");
  const auto input = border.in_any_shape<float>("x", x);
  const auto output = border.out_like_or_in_place<float>("y", y, input);
  const auto random = border.in<std::uint64_t>("state", state, {2});
  border.done();
  if (!(rate >= 0 && rate <= 1)) border.fail("rate", "between 0 and 1", number_text(rate));
  if (stream < 0 || stream > UINT32_MAX) border.fail("stream", "0 to 4294967295", std::to_string(stream));
  launch(cpu::Dropout{
      {}, input.ptr(), output.ptr(), random.ptr(), input.count(), rate, static_cast<std::uint32_t>(stream)});
}

}  // namespace

void bind_dropout(py::module_& module) {
  using namespace py::literals;
  module.def("dropout", &dropout, "x"_a, "y"_a, "rate"_a, "state"_a, "stream"_a = 0);
}

}  // namespace fnn::bindings
