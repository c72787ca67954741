// crop_flip_forward, crop_flip_backward
#include <pybind11/stl.h>

#include <array>

#include "bindings/convert.h"
#include "bindings/launch.h"
#include "cpu/crop_flip.h"

namespace fnn::bindings {
namespace {

using Limits = std::array<std::int64_t, 2>;  // smallest and largest

struct Corners {
  Limits top, left;
  bool horizontal, vertical;
};

// x and y are image and crop, or `back` the gradients of crop and image.
void crop_flip(Border& border, const Array<const float>& x, const Array<float>& y, const Corners& corners,
               py::handle state, std::int64_t stream, bool back) {
  const auto random = border.in<std::uint64_t>("state", state, {2});
  border.done();
  const RawArray& image = back ? static_cast<const RawArray&>(y) : x;
  const RawArray& crop = back ? static_cast<const RawArray&>(x) : y;
  constexpr std::int64_t most = 1'000'000'000;
  for (const auto& [name, limits] : {std::pair{"top", corners.top}, std::pair{"left", corners.left}}) {
    if (limits[0] > limits[1] || limits[0] < -most || limits[1] > most)
      border.fail(name, "the smallest and the largest, within a billion",
                  std::to_string(limits[0]) + ", " + std::to_string(limits[1]));
  }
  if (stream < 0 || stream > UINT32_MAX) border.fail("stream", "0 to 4294967295", std::to_string(stream));
  launch(cpu::CropFlip{{},
                       {image.shape[1], crop.shape[1], corners.top[0], corners.top[1], corners.vertical},
                       {image.shape[2], crop.shape[2], corners.left[0], corners.left[1], corners.horizontal},
                       image.shape[0],
                       image.shape[3],
                       x.ptr(),
                       y.ptr(),
                       random.ptr(),
                       static_cast<std::uint32_t>(stream),
                       back});
}

void crop_flip_forward(py::handle x, py::handle y, Limits top, Limits left, bool horizontal, bool vertical,
                       py::handle state, std::int64_t stream) {
  Border border("crop_flip_forward");
  const auto image = border.in<float>("x", x, {kAny, kAny, kAny, kAny});
  const auto crop = border.out<float>("y", y, {image.shape[0], kAny, kAny, image.shape[3]});
  crop_flip(border, image, crop, {top, left, horizontal, vertical}, state, stream, false);
}

void crop_flip_backward(py::handle dy, py::handle dx, Limits top, Limits left, bool horizontal, bool vertical,
                        py::handle state, std::int64_t stream) {
  Border border("crop_flip_backward");
  const auto crop = border.in<float>("dy", dy, {kAny, kAny, kAny, kAny});
  const auto image = border.out<float>("dx", dx, {crop.shape[0], kAny, kAny, crop.shape[3]});
  crop_flip(border, crop, image, {top, left, horizontal, vertical}, state, stream, true);
}

}  // namespace

void bind_crop_flip(py::module_& module) {
  using namespace py::literals;
  module.def("crop_flip_forward", &crop_flip_forward, "x"_a, "y"_a, "top"_a, "left"_a, "horizontal"_a, "vertical"_a,
             "state"_a, "stream"_a = 0);
  module.def("crop_flip_backward", &crop_flip_backward, "dy"_a, "dx"_a, "top"_a, "left"_a, "horizontal"_a, "vertical"_a,
             "state"_a, "stream"_a = 0);
}

}  // namespace fnn::bindings
