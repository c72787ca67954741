// augment_batch: only for GPUs; on the CPU it is Cython's, fastnn/data/_augment.pyx.
#include <pybind11/stl.h>

#include <array>

#include "bindings/convert.h"
#include "bindings/launch.h"
#include "cuda/augment.h"

namespace fnn::bindings {
namespace {

using Limits = std::array<std::int64_t, 2>;  // smallest and largest

void augment_batch(py::handle x, py::handle index, py::handle out, py::handle scale, py::handle shift, Limits top,
                   Limits left, bool horizontal, bool vertical, py::handle state, std::int64_t stream) {
  Border border("augment_batch");
  const RawArray any = border.in_any_dtype("x", x);
  const bool bytes = any.item_size == 1;
  if (any.rank != 4 || (any.item_size != 1 && any.item_size != 4))
    border.fail("x", "uint8 or float32 images [n, h, w, c]",
                "rank " + std::to_string(any.rank) + " of items of " + std::to_string(any.item_size) + " bytes");
  Border checked("augment_batch");
  const Shape image = {kAny, kAny, kAny, kAny};
  const void* stored = bytes ? static_cast<const void*>(checked.in<std::uint8_t>("x", x, image).ptr())
                             : static_cast<const void*>(checked.in<float>("x", x, image).ptr());
  const std::int64_t channels = any.shape[3];
  const auto samples = checked.in<std::int64_t>("index", index, {kAny});
  const auto batch = checked.out<float>("out", out, {samples.shape[0], kAny, kAny, channels});
  const auto factors = checked.in<float>("scale", scale, {channels});
  const auto shifts = checked.in<float>("shift", shift, {channels});
  const auto random = checked.in<std::uint64_t>("state", state, {2});
  checked.done();
  constexpr std::int64_t most = 1'000'000'000;
  for (const auto& [name, limits] : {std::pair{"top", top}, std::pair{"left", left}}) {
    if (limits[0] > limits[1] || limits[0] < -most || limits[1] > most)
      border.fail(name, "the smallest and the largest, within a billion",
                  std::to_string(limits[0]) + ", " + std::to_string(limits[1]));
  }
  if (stream < 0 || stream > UINT32_MAX) border.fail("stream", "0 to 4294967295", std::to_string(stream));
  launch(cuda::AugmentBatch{stored,
                            bytes,
                            any.shape[0],
                            samples.shape[0],
                            channels,
                            {any.shape[1], batch.shape[1], top[0], top[1], vertical},
                            {any.shape[2], batch.shape[2], left[0], left[1], horizontal},
                            samples.ptr(),
                            batch.ptr(),
                            factors.ptr(),
                            shifts.ptr(),
                            random.ptr(),
                            static_cast<std::uint32_t>(stream)});
}

}  // namespace

void bind_augment(py::module_& module) {
  using namespace py::literals;
  module.def("augment_batch", &augment_batch, "x"_a, "index"_a, "out"_a, "scale"_a, "shift"_a, "top"_a, "left"_a,
             "horizontal"_a, "vertical"_a, "state"_a, "stream"_a = 0);
}

}  // namespace fnn::bindings
