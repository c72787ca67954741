// What a tape that records keeps.
#include <memory>

#include "bindings/convert.h"
#include "tape/tape.h"

namespace fnn::bindings {
namespace {

// A reference to a Python object that may be dropped by any thread.
std::shared_ptr<void> hold(py::handle object) {
  return {object.inc_ref().ptr(), [](void* held) {
            py::gil_scoped_acquire lock;
            py::handle(static_cast<PyObject*>(held)).dec_ref();
          }};
}

}  // namespace

void keep_while_recorded(py::handle object, const void* data) {
  if (tape::Tape* tape = tape::recording()) tape->keep(hold(object), data);
}

bool recording() { return tape::recording() != nullptr; }

}  // namespace fnn::bindings
