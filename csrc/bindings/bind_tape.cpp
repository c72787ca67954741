// Tape: what is recorded of the kernels that a step calls, and replayed.
#include <vector>

#include "bindings/convert.h"
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
}

}  // namespace fnn::bindings
