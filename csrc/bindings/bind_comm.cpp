// Groups of processes: joining one, its operations, memory that they share. Arrays come as addresses that
// fastnn._arrays has looked up; all calls run without the GIL.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>

#include "bindings/convert.h"
#include "bindings/given_array.h"

#ifdef __linux__
#include "comm/group.h"
#include "comm/sha256.h"

namespace fnn::bindings {
namespace communication {

using comm::Call, comm::Failed, comm::Failure, comm::Group, comm::Handle, comm::Hooks, comm::JoinRequest;
using comm::Limits, comm::Mapping, comm::Member, comm::Trouble;

// A signal's exception stays set in its thread, for translate() to leave it there.
bool has_signal() {
  py::gil_scoped_acquire lock;
  return PyErr_CheckSignals() != 0;
}

Hooks hooks_of(const py::function& warn) {
  const std::shared_ptr<py::function> held(new py::function(warn), [](py::function* function) {
    py::gil_scoped_acquire lock;
    delete function;
  });
  Hooks hooks;
  hooks.interrupted = has_signal;
  hooks.warn = [held](const std::string& text) {
    py::gil_scoped_acquire lock;
    try {
      (*held)(text);
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("fastnn.distributed");
    }
  };
  return hooks;
}

std::unique_ptr<Group> join_group(int rank, int world, const std::string& machine, const std::string& host,
                                  const std::string& place, int port, const std::string& secret, double timeout,
                                  int listening, double warn_after, double operation_timeout, double heartbeat,
                                  double cores, const py::function& warn) {
  JoinRequest request;
  request.self.rank = rank;
  request.self.machine = machine;
  request.self.host = host;
  request.world = world;
  request.place = {place, port};
  request.secret = secret;
  request.timeout = timeout;
  request.listening = listening;
  const Hooks hooks = hooks_of(warn);
  py::gil_scoped_release unlocked;
  return std::make_unique<Group>(request, Limits{warn_after, operation_timeout, heartbeat}, cores, hooks);
}

Call call_of(int kind, int how, int type, int wire, int algorithm, int root, std::uint32_t layout, std::int64_t count,
             std::uintptr_t in, std::uintptr_t out) {
  Call call;
  call.kind = static_cast<comm::Kind>(kind);
  call.combine = static_cast<comm::Combine>(how);
  call.type = static_cast<comm::Type>(type);
  call.wire = static_cast<comm::Wire>(wire);
  call.algorithm = static_cast<comm::Algorithm>(algorithm);
  call.root = root;
  call.layout = layout;
  call.count = count;
  call.in = reinterpret_cast<const void*>(in);
  call.out = reinterpret_cast<void*>(out);
  return call;
}

bool read_combine(py::handle op, comm::Combine* how) {
  constexpr const char* names[] = {"sum", "mean", "max", "min"};  // in the order of comm::Combine
  if (!PyUnicode_Check(op.ptr())) return false;
  for (int i = 0; i < 4; ++i) {
    *how = static_cast<comm::Combine>(i);
    if (PyUnicode_CompareWithASCIIString(op.ptr(), names[i]) == 0) return true;
  }
  return false;
}

bool read_type(DType dtype, comm::Type* type) {
  switch (dtype) {
    case DType::f32:
      *type = comm::Type::f32;
      return true;
    case DType::f64:
      *type = comm::Type::f64;
      return true;
    case DType::i32:
      *type = comm::Type::i32;
      return true;
    case DType::i64:
      *type = comm::Type::i64;
      return true;
    default:
      return false;
  }
}

PyObject* failed_class = nullptr;  // of this module, for ever

void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const Failed& failed) {
    const Failure& what = failed.failure;
    if (what.trouble == Trouble::interrupted && PyErr_Occurred()) return;
    const py::tuple details =
        py::make_tuple(static_cast<int>(what.trouble), what.rank, what.host, what.operation, what.text);
    PyErr_SetObject(failed_class, details.ptr());
  }
}

// The sum of NumPy's arrays, without a detour through Python, which takes ten times as long as a small operation.
// False, and nothing is done, for whatever isn't plain: fastnn.distributed looks at that, and says what's wrong with
// it.
bool all_reduce_plain(Group& group, const py::handle& array, const py::handle& op) {
  if (Py_TYPE(array.ptr()) != py::detail::npy_api::get().PyArray_Type_) return false;  // a subclass may lie anywhere
  GivenArray given;
  Call call;
  call.kind = comm::Kind::all_reduce;
  if (!read_numpy_array(array, given) || !read_type(given.dtype, &call.type) || !read_combine(op, &call.combine))
    return false;
  const bool is_integer = call.type == comm::Type::i32 || call.type == comm::Type::i64;
  if (!given.numeric || !given.contiguous || !given.aligned || !given.writable) return false;
  if (given.array.rank > kMaxRank || (is_integer && call.combine == comm::Combine::mean)) return false;
  call.count = 1;
  for (int axis = 0; axis < given.array.rank; ++axis) call.count *= given.array.shape[axis];
  call.in = call.out = given.array.data;
  py::gil_scoped_release unlocked;
  group.run(call);
  return true;
}

// The way there takes as long as a small operation itself, so it's Python's shortest: a builtin function of two
// positional arguments, bound to a capsule. pybind11 takes 250 ns longer to find out what it's given.
PyObject* call_all_reduce_plain(PyObject* capsule, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "all_reduce_plain takes an array and an operation");
    return nullptr;
  }
  try {
    auto* group = static_cast<Group*>(PyCapsule_GetPointer(capsule, nullptr));
    return PyBool_FromLong(all_reduce_plain(*group, arguments[0], arguments[1]) ? 1 : 0);
  } catch (const Failed&) {
    translate(std::current_exception());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyMethodDef all_reduce_plain_method = {"all_reduce_plain",
                                       reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&call_all_reduce_plain)),
                                       METH_FASTCALL, nullptr};

// A function (array, op) of this group, which it keeps alive.
py::object all_reduce_plain_of(const py::object& group) {
  const py::capsule held(group.cast<Group*>(), nullptr,
                         [](PyObject* capsule) { Py_XDECREF(static_cast<PyObject*>(PyCapsule_GetContext(capsule))); });
  if (PyCapsule_SetContext(held.ptr(), group.ptr()) != 0) throw py::error_already_set();
  group.inc_ref();
  return py::reinterpret_steal<py::object>(PyCFunction_NewEx(&all_reduce_plain_method, held.ptr(), nullptr));
}

std::shared_ptr<Handle> start(Group& group, const Call& call, const py::object& keep) {
  const std::shared_ptr<void> held(keep.inc_ref().ptr(), [](void* object) {
    py::gil_scoped_acquire lock;
    py::handle(static_cast<PyObject*>(object)).dec_ref();
  });
  py::gil_scoped_release unlocked;
  return group.start(call, held);
}

py::array allocate(Group& group, std::int64_t bytes) {
  std::shared_ptr<Mapping> mapping;
  {
    py::gil_scoped_release unlocked;
    mapping = group.allocate(bytes);
  }
  const py::capsule owner(new std::shared_ptr<Mapping>(mapping),
                          [](void* held) { delete static_cast<std::shared_ptr<Mapping>*>(held); });
  return py::array_t<std::uint8_t>(bytes, reinterpret_cast<const std::uint8_t*>(mapping->own()), owner);
}

py::list members_of(const Group& group) {
  py::list members;
  for (const Member& member : group.members()) members.append(py::make_tuple(member.rank, member.host, member.pid));
  return members;
}

}  // namespace communication

void bind_comm(py::module_& module) {
  using namespace communication;
  py::exception<Failed> failed(module, "CommFailed");
  failed_class = failed.inc_ref().ptr();
  py::register_local_exception_translator(translate);

  module.def("comm_join", &join_group, py::arg("rank"), py::arg("world"), py::arg("machine"), py::arg("host"),
             py::arg("place"), py::arg("port"), py::arg("secret"), py::arg("timeout"), py::arg("listening"),
             py::arg("warn_after"), py::arg("operation_timeout"), py::arg("heartbeat"), py::arg("cores"),
             py::arg("warn"));
  module.def("comm_hmac", [](const py::bytes& key, const py::bytes& message) {
    return py::bytes(comm::text_of(comm::hmac_sha256(std::string(key), std::string(message))));
  });
  module.def("comm_sha256",
             [](const py::bytes& message) { return py::bytes(comm::text_of(comm::sha256(std::string(message)))); });

  const auto unlocked = py::call_guard<py::gil_scoped_release>();
  py::class_<Call>(module, "CommCall", py::module_local())
      .def(py::init(&call_of), py::arg("kind"), py::arg("combine") = 0, py::arg("type") = 0, py::arg("wire") = 0,
           py::arg("algorithm") = 0, py::arg("root") = 0, py::arg("layout") = 0, py::arg("count") = 0,
           py::arg("source") = 0, py::arg("destination") = 0);
  py::class_<Handle, std::shared_ptr<Handle>>(module, "CommHandle", py::module_local())
      .def("wait_for", &Handle::wait_for, py::arg("seconds"), unlocked)
      .def("check", &Handle::check);
  py::class_<Group>(module, "CommGroup", py::module_local())
      .def_property_readonly("rank", &Group::rank)
      .def_property_readonly("world", &Group::world)
      .def_property_readonly("local_rank", &Group::local_rank)
      .def_property_readonly("local_world", &Group::local_world)
      .def_property_readonly("hosts", &Group::host_count)
      .def_property_readonly("cores", &Group::cores)
      .def_property_readonly("members", &members_of)
      .def("run", &Group::run, py::arg("call"), unlocked)
      .def_property_readonly("all_reduce_plain", &all_reduce_plain_of)
      .def("start", &start, py::arg("call"), py::arg("keep"))
      .def("announce", &Group::announce, py::arg("counter"), py::arg("value"), unlocked)
      .def("await_counter", &Group::await, py::arg("counter"), py::arg("local_rank"), py::arg("value"), unlocked)
      .def("allocate", &allocate, py::arg("bytes"))
      .def("close", &Group::close, unlocked);
}

}  // namespace fnn::bindings
#else
namespace fnn::bindings {
void bind_comm(py::module_&) {}  // shared memory without names, and its locks, are Linux's
}  // namespace fnn::bindings
#endif
