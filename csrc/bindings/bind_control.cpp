// The kernels that move a training step's state on.
#include <cmath>

#include "bindings/convert.h"
#include "bindings/launch.h"
#include "cpu/control.h"
#ifdef FNN_CUDA
#include "cuda/control.h"
#endif

namespace fnn::bindings {
namespace {

// On the GPU it waits for the value; what is captured as a graph can't, and notes it instead.
bool stop_unless_finite(py::handle value) {
  Border border("stop_unless_finite");
  const double* number = border.in<double>("value", value, {1}).ptr();
#ifdef FNN_CUDA
  if (recording())
    border.fail("value", "read while no graph is captured: call note_nonfinite", "one that a graph would compute");
  const cudaStream_t stream = current_stream();
  py::gil_scoped_release unlocked;
  return std::isfinite(cuda::value_of(number, stream));
#else
  if (tape::Tape* tape = tape::recording()) tape->stop_unless_finite(number);
  return std::isfinite(*number);
#endif
}

void note_nonfinite(py::handle value, py::handle found) {
  Border border("note_nonfinite");
  const auto number = border.in<double>("value", value, {1});
  const auto flag = border.out<float>("found", found, {1});
  border.done();
  launch(cpu::NoteNonfinite{{}, number.ptr(), flag.ptr()});
}

void begin_batch(py::handle order, py::handle position, py::handle index, std::int64_t batch, py::handle total) {
  Border border("begin_batch");
  const auto samples = border.in<std::int64_t>("order", order, {kAny});
  const auto at = border.in<std::int64_t>("position", position, {1});
  const auto picked = border.out<std::int64_t>("index", index, {kAny});
  const auto sum = border.out<double>("total", total, {1});
  border.done();
  const std::int64_t count = picked.shape[0];
  if (batch < 1) border.fail("batch", "at least 1", std::to_string(batch));
  if constexpr (kOnHost) {  // on the GPU the kernel gives -1 for what lies beyond order
    const std::int64_t first = *at.ptr() * batch;
    if (first < 0 || first + count > samples.shape[0])
      border.fail("position", "that of a batch inside order", std::to_string(*at.ptr()));
  }
  launch(cpu::BeginBatch{{}, samples.ptr(), samples.shape[0], at.ptr(), picked.ptr(), batch, count, sum.ptr()});
}

void clear_loss(py::handle total) {
  Border border("clear_loss");
  launch(cpu::ClearLoss{{}, border.out<double>("total", total, {1}).ptr()});
}

void advance_random(py::handle state) {
  Border border("advance_random");
  launch(cpu::AdvanceRandom{{}, border.out<std::uint64_t>("state", state, {2}).ptr()});
}

const std::int64_t* slot_argument(Border& border, py::handle slot, std::int64_t count) {
  const std::int64_t* at = border.in<std::int64_t>("slot", slot, {1}).ptr();
  if (kOnHost && (*at < 0 || *at >= count))
    border.fail("slot", "0 to " + std::to_string(count - 1), std::to_string(*at));
  return at;
}

void store_loss(py::handle total, py::handle losses, py::handle slot) {
  Border border("store_loss");
  const auto sum = border.in<double>("total", total, {1});
  const auto stored = border.out<double>("losses", losses, {kAny});
  const std::int64_t* at = slot_argument(border, slot, stored.shape[0]);
  border.done();
  launch(cpu::StoreLoss{{}, sum.ptr(), stored.ptr(), at, stored.shape[0]});
}

void begin_update(py::handle rates, py::handle slot, py::handle rate, py::handle step) {
  Border border("begin_update");
  const auto all = border.in<double>("rates", rates, {kAny});
  const std::int64_t* at = slot_argument(border, slot, all.shape[0]);
  const auto current = border.out<double>("rate", rate, {1});
  const auto count = border.out<std::int64_t>("step", step, {1});
  border.done();
  launch(cpu::BeginUpdate{{}, all.ptr(), at, all.shape[0], current.ptr(), count.ptr()});
}

void end_batch(py::handle position, py::handle slot) {
  Border border("end_batch");
  const auto at = border.out<std::int64_t>("position", position, {1});
  const auto next = border.out<std::int64_t>("slot", slot, {1});
  border.done();
  launch(cpu::EndBatch{{}, at.ptr(), next.ptr()});
}

}  // namespace

void bind_control(py::module_& module) {
  using namespace py::literals;
  module.def("stop_unless_finite", &stop_unless_finite, "value"_a);
  module.def("note_nonfinite", &note_nonfinite, "value"_a, "found"_a);
  module.def("begin_batch", &begin_batch, "order"_a, "position"_a, "index"_a, "batch"_a, "total"_a);
  module.def("clear_loss", &clear_loss, "total"_a);
  module.def("advance_random", &advance_random, "state"_a);
  module.def("store_loss", &store_loss, "total"_a, "losses"_a, "slot"_a);
  module.def("begin_update", &begin_update, "rates"_a, "slot"_a, "rate"_a, "step"_a);
  module.def("end_batch", &end_batch, "position"_a, "slot"_a);
}

}  // namespace fnn::bindings
