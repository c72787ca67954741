// Tape, and the kernels that move a training step's state on.
#include <cmath>
#include <vector>

#include "bindings/convert.h"
#include "bindings/launch.h"
#include "cpu/control.h"
#include "tape/tape.h"

namespace fnn::bindings {
namespace {

using tape::Tape;

// The array's memory becomes a port of the tape; returns how many pointers of its kernels lead there.
std::size_t add_port(Tape& tape, py::handle array, bool written) {
  Border border("port");
  const RawArray raw = border.in_any_dtype("array", array);
  const auto bytes = static_cast<std::size_t>(raw.count() * raw.item_size);
  if (bytes == 0) border.fail("array", "one with elements", "an empty one");
  return tape.add_port(raw.data, bytes, written);
}

// Where the tape's ports lie: in each array the parts of the replays one behind the other.
std::vector<tape::Place> places_of(const Tape& tape, std::int64_t steps, const py::args& arrays) {
  if (arrays.size() != tape.ports()) {
    fail("replay", "arrays", "as many as the tape has ports, " + std::to_string(tape.ports()),
         std::to_string(arrays.size()));
  }
  std::vector<tape::Place> places;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    Border border("replay");
    const std::string name = "arrays[" + std::to_string(i) + "]";
    const RawArray raw = tape.port_written(i) ? border.out_any_dtype(name.c_str(), arrays[i])
                                              : border.in_any_dtype(name.c_str(), arrays[i]);
    const std::int64_t given = raw.count() * raw.item_size;
    const auto bytes = static_cast<std::int64_t>(tape.port_bytes(i));
    if (given / bytes < steps) {
      border.fail(name.c_str(), "of at least " + std::to_string(steps) + " times " + std::to_string(bytes) + " bytes",
                  std::to_string(given));
    }
    places.push_back({raw.data, static_cast<std::ptrdiff_t>(bytes)});
  }
  return places;
}

std::int64_t replay(Tape& tape, std::int64_t steps, const py::args& arrays) {
  if (steps < 0) fail("replay", "steps", "at least 0", std::to_string(steps));
  if (tape::recording() != nullptr) fail("replay", "the tape", "replayed after recording", "a call while one records");
  const std::vector<tape::Place> places = places_of(tape, steps, arrays);
  const int threads = ThreadTeam::instance().size();
  if (threads != tape.threads()) {
    fail("replay", "the number of threads", "what it was when the tape was recorded, " + std::to_string(tape.threads()),
         std::to_string(threads) + "; record it anew");
  }
  py::gil_scoped_release unlocked;
  return tape.replay(steps, places.data());
}

void start_recording(Tape& tape) {
  if (tape::recording() != nullptr) fail("record", "a tape", "recorded one at a time", "a second one");
  tape::set_recording(&tape);
}

bool stop_unless_finite(py::handle value) {
  Border border("stop_unless_finite");
  const double* number = border.in<double>("value", value, {1}).ptr();
  if (Tape* tape = tape::recording()) tape->stop_unless_finite(number);
  return std::isfinite(*number);
}

void begin_batch(py::handle order, py::handle position, py::handle index, std::int64_t batch, py::handle total) {
  Border border("begin_batch");
  const auto samples = border.in<std::int64_t>("order", order, {kAny});
  const auto at = border.in<std::int64_t>("position", position, {1});
  const auto picked = border.out<std::int64_t>("index", index, {kAny});
  const auto sum = border.out<double>("total", total, {1});
  border.done();
  const std::int64_t count = picked.shape[0], first = *at.ptr() * batch;
  if (batch < 1 || first < 0 || first + count > samples.shape[0])
    border.fail("position", "that of a batch inside order", std::to_string(*at.ptr()));
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
  if (*at < 0 || *at >= count) border.fail("slot", "0 to " + std::to_string(count - 1), std::to_string(*at));
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

void bind_tape(py::module_& module) {
  using namespace py::literals;
  py::class_<Tape>(module, "Tape", py::module_local())  // several levels may be loaded side by side
      .def(py::init<>())
      .def("start", &start_recording)
      .def("stop", [](Tape&) { tape::set_recording(nullptr); })
      .def("port", &add_port, "array"_a, "written"_a = false)
      .def("replay", &replay, "steps"_a)
      .def("__len__", &Tape::size)
      .def_property_readonly("threads", &Tape::threads)
      .def_property_readonly("meetings", &Tape::meetings);
  module.def("stop_unless_finite", &stop_unless_finite, "value"_a);
  module.def("begin_batch", &begin_batch, "order"_a, "position"_a, "index"_a, "batch"_a, "total"_a);
  module.def("clear_loss", &clear_loss, "total"_a);
  module.def("advance_random", &advance_random, "state"_a);
  module.def("store_loss", &store_loss, "total"_a, "losses"_a, "slot"_a);
  module.def("begin_update", &begin_update, "rates"_a, "slot"_a, "rate"_a, "step"_a);
  module.def("end_batch", &end_batch, "position"_a, "slot"_a);
}

}  // namespace fnn::bindings
