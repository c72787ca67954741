// TensorWatch: whether torch's optimizer finds in this step what it found in the one before, and where the gradients
// lie now.
//
// Between two steps anything may happen to the parameters of an optimizer, their gradients and the dictionaries of its
// state: they are replaced, moved, given another shape, taken away. To look at all of them from Python takes some
// microseconds a parameter, from here 0.15. Gradients are new tensors in most steps and are looked at through DLPack's
// exchange API; parameters and states last, and their addresses are asked for through handles of torch's C interface.
#include <cstring>
#include <unordered_map>
#include <vector>

#include "bindings/convert.h"
#include "bindings/dlpack.h"

namespace fnn::bindings {
namespace {

constexpr const char* kWatch = "TensorWatch";

// Numbers that were written down once and are compared ever after.
class Trace {
 public:
  void begin() { at_ = 0, same_ = true; }
  void end_recording() { recording_ = false; }
  bool recording() const { return recording_; }
  bool same() const { return same_; }
  void differ() { same_ = false; }
  bool complete() const { return same_ && at_ == values_.size(); }
  // Returns whether everything is the same so far.
  bool add(std::int64_t value) {
    if (recording_) {
      values_.push_back(value);
    } else if (at_ == values_.size() || values_[at_] != value) {
      same_ = false;
    }
    ++at_;
    return same_;
  }
  bool add(const void* pointer) { return add(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(pointer))); }

 private:
  bool recording_ = true, same_ = true;
  std::size_t at_ = 0;
  std::vector<std::int64_t> values_;
};

// Tensors by torch's own handles (AtenTensorHandle of its C interface, shim.h). While one is held, the tensor and its
// Python object live.
class Handles {
 public:
  // make(tensor) returns a capsule with a new handle; data_ptr and remove are the addresses of aoti_torch_get_data_ptr
  // and aoti_torch_delete_tensor_object.
  Handles(py::function make, std::uintptr_t data_ptr, std::uintptr_t remove)
      : make_(std::move(make)),
        data_ptr_(reinterpret_cast<int (*)(void*, void**)>(data_ptr)),
        remove_(reinterpret_cast<int (*)(void*)>(remove)) {}
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;
  ~Handles() {
    for (void* handle : handles_) remove_(handle);
  }

  // Returns where the tensor lies.
  std::int64_t add(py::handle tensor) {
    const py::object capsule = make_(tensor);
    void* handle = PyCapsule_GetPointer(capsule.ptr(), nullptr);
    if (handle == nullptr) throw py::error_already_set();
    handles_.push_back(handle);
    places_.push_back(place(handle));
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(places_.back()));
  }
  // Whether all lie where they were. In a loop of its own: the processor overlaps the cache misses of many tensors.
  bool are_in_place() const {
    bool same = true;
    for (std::size_t i = 0; i < handles_.size(); ++i) same &= place(handles_[i]) == places_[i];
    return same;
  }

 private:
  void* place(void* handle) const {
    void* data = nullptr;
    return data_ptr_(handle, &data) == 0 ? data : nullptr;
  }

  py::function make_;
  int (*data_ptr_)(void*, void**);
  int (*remove_)(void*);
  std::vector<void*> handles_, places_;
};

class TensorWatch {
 public:
  enum Result { kChanged = 0, kMoved = 1, kSame = 2 };

  // Looks for the first time. addresses: int64[2 + len(names), tensors], filled here with where each parameter, its
  // gradient and its states of these names lie, 0 where there is none; `refresh` changes where the gradients lie.
  TensorWatch(const py::type& tensor_type, const py::list& groups, const py::dict& state, const py::list& names,
              py::handle addresses, const py::function& make_handle, std::uintptr_t data_ptr, std::uintptr_t remove)
      : type_(tensor_type),
        names_(names),
        owner_(py::reinterpret_borrow<py::object>(addresses)),
        handles_(make_handle, data_ptr, remove) {
    show_ = dlpack::exchange_function(tensor_type);
    if (show_ == nullptr) fail(kWatch, "tensor_type", "one with DLPack's exchange API", "another one");
    for (const py::handle group : groups) count_ += py::len(group);
    seen_.resize(count_);
    Border border(kWatch);
    const auto rows = static_cast<std::int64_t>(2 + names.size());
    addresses_ = border.out<std::int64_t>("addresses", addresses, {rows, static_cast<std::int64_t>(count_)}).ptr();
    look(groups, state);
    trace_.end_recording();
    if (!trace_.same()) fail(kWatch, "groups and state", "of tensors that DLPack can show", "others");
  }

  // kSame: as it was. kMoved: but for gradients that lie elsewhere; `addresses` says where. kChanged: something else.
  int refresh(const py::list& groups, const py::dict& state) {
    moved_ = false;
    trace_.begin();
    if (!handles_.are_in_place()) return kChanged;
    look(groups, state);
    if (!trace_.complete()) return kChanged;
    return moved_ ? kMoved : kSame;
  }

 private:
  void look(const py::list& groups, py::handle state) {
    std::size_t column = 0;
    for (const py::handle group : groups) {
      if (!PyList_Check(group.ptr())) return trace_.differ();
      if (!trace_.add(PyList_GET_SIZE(group.ptr()))) return;
      for (Py_ssize_t i = 0; i < PyList_GET_SIZE(group.ptr()); ++i) {
        const py::handle param = PyList_GET_ITEM(group.ptr(), i);
        if (!look_at_parameter(param, column++)) return;
      }
    }
    look_at_state(state);
  }

  bool look_at_parameter(py::handle param, std::size_t column) {
    if (!look_at_object(param, 0, column)) return false;
    if (trace_.recording()) columns_[param.ptr()].push_back(column);
    prefetch_gradient(column + 6);
    PyObject* grad = PyObject_GetAttr(param.ptr(), grad_name_.ptr());
    if (grad == nullptr) throw py::error_already_set();
    const auto held = py::reinterpret_steal<py::object>(grad);
    if (!trace_.add(held.is_none())) return false;
    return held.is_none() || look_at_gradient(held, column);
  }

  void look_at_state(py::handle state) {
    PyObject *param, *entries;
    Py_ssize_t at = 0;
    std::size_t place = 0;
    while (PyDict_Next(state.ptr(), &at, &param, &entries)) {
      trace_.add(param);
      if (!trace_.add(entries)) return;
      const auto found = trace_.recording() ? columns_.find(param) : columns_.end();
      if (trace_.recording()) places_.push_back({found == columns_.end() ? nullptr : &found->second, 0});
      const auto* columns = places_[place++].columns;
      if (columns == nullptr) continue;  // of a parameter that's in no group
      if (!PyDict_Check(entries)) return trace_.differ();
      PyObject *key, *value;
      Py_ssize_t inner = 0;
      while (PyDict_Next(entries, &inner, &key, &value)) {
        if (!trace_.add(key)) return;
        if (trace_.recording()) places_.push_back({columns, row_of(key)});
        const std::size_t row = places_[place++].row;
        if (row != 0 && !look_at_object(value, row, columns->front())) return;
      }
      if (!trace_.recording()) continue;
      for (const std::size_t column : *columns)  // a parameter that's there twice has one state
        for (std::size_t row = 2; row < 2 + names_.size(); ++row)
          addresses_[row * count_ + column] = addresses_[row * count_ + columns->front()];
    }
  }

  // The object that was there before; a handle keeps it alive, so no other can have come to lie in its place.
  bool look_at_object(py::handle object, std::size_t row, std::size_t column) {
    if (trace_.recording()) addresses_[row * count_ + column] = handles_.add(object);
    return trace_.add(object.ptr());
  }

  // Everything but the address goes into the trace.
  bool look_at_gradient(py::handle object, std::size_t column) {
    dlpack::Tensor tensor;
    if (!PyObject_TypeCheck(object.ptr(), reinterpret_cast<PyTypeObject*>(type_.ptr())) ||
        show_(object.ptr(), &tensor) != 0) {
      PyErr_Clear();  // a sparse one, say: whoever looks closely finds out
      trace_.differ();
      return false;
    }
    seen_[column] = {object.ptr(), tensor.shape};
    std::int64_t device;
    static_assert(sizeof(tensor.device) == sizeof(device) && sizeof(tensor.dtype) == 4);
    std::memcpy(&device, &tensor.device, sizeof(device));
    trace_.add(device);
    trace_.add(tensor.dtype.code << 24 | tensor.dtype.bits << 16 | tensor.dtype.lanes);
    trace_.add(tensor.ndim);
    for (int i = 0; i < tensor.ndim; ++i) trace_.add(tensor.shape[i]);
    for (int i = 0; i < tensor.ndim && tensor.strides != nullptr; ++i) trace_.add(tensor.strides[i]);
    const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset);
    std::int64_t& known = addresses_[count_ + column];
    moved_ |= known != address;
    known = address;
    return trace_.same();
  }

  // Where a gradient's object and, around the shape, its description were in the step before, and often are again: of a
  // thousand tensors 40 microseconds less.
  struct Seen {
    const void* object;
    const std::int64_t* shape;
  };
  void prefetch_gradient(std::size_t column) const {
    if (column >= seen_.size()) return;
    __builtin_prefetch(seen_[column].object);
    for (int line = -2; line <= 1; ++line) __builtin_prefetch(seen_[column].shape + 8 * line);
  }

  std::size_t row_of(py::handle key) const {
    for (std::size_t i = 0; i < names_.size(); ++i)
      if (key.equal(names_[i])) return 2 + i;
    return 0;
  }

  // The parameter that a dictionary of state belongs to, and the row of one of its entries (0: of no interest).
  struct Place {
    const std::vector<std::size_t>* columns;
    std::size_t row;
  };

  py::object type_;
  py::list names_;
  py::object owner_;  // of addresses_
  py::str grad_name_{"grad"};
  dlpack::ShowTensor show_ = nullptr;
  std::int64_t* addresses_ = nullptr;
  std::size_t count_ = 0;
  Trace trace_;
  Handles handles_;
  bool moved_ = false;
  std::unordered_map<PyObject*, std::vector<std::size_t>> columns_;  // of each parameter; its nodes stay where they are
  std::vector<Place> places_;
  std::vector<Seen> seen_;
};

// ---- counters of steps: a float32 for each tensor, as torch keeps them

float* const* counters(Border& border, py::handle addresses, std::int64_t* count) {
  static_assert(sizeof(float*) == sizeof(std::int64_t));
  const auto array = border.in<std::int64_t>("addresses", addresses, {kAny});
  *count = array.count();
  return reinterpret_cast<float* const*>(array.ptr());
}

// The number of the step to come, which all counters agree on; 0 if they don't.
std::int64_t next_step(py::handle addresses) {
  Border border("next_step");
  std::int64_t count;
  float* const* steps = counters(border, addresses, &count);
  for (std::int64_t i = 1; i < count; ++i)
    if (*steps[i] != *steps[0]) return 0;
  return count == 0 ? 0 : static_cast<std::int64_t>(*steps[0]) + 1;
}

void set_steps(py::handle addresses, std::int64_t step) {
  Border border("set_steps");
  std::int64_t count;
  float* const* steps = counters(border, addresses, &count);
  for (std::int64_t i = 0; i < count; ++i) *steps[i] = static_cast<float>(step);
}

}  // namespace

void bind_tensor_watch(py::module_& module) {
  using py::arg;
  py::class_<TensorWatch> watch(module, "TensorWatch", py::module_local());
  watch
      .def(py::init<const py::type&, const py::list&, const py::dict&, const py::list&, py::handle, const py::function&,
                    std::uintptr_t, std::uintptr_t>(),
           arg("tensor_type"), arg("groups"), arg("state"), arg("names"), arg("addresses"), arg("make_handle"),
           arg("data_ptr"), arg("remove"))
      .def("refresh", &TensorWatch::refresh, arg("groups"), arg("state"));
  module.def("next_step", &next_step, arg("addresses"));
  module.def("set_steps", &set_steps, arg("addresses"), arg("step"));
  watch.attr("CHANGED") = static_cast<int>(TensorWatch::kChanged);
  watch.attr("MOVED") = static_cast<int>(TensorWatch::kMoved);
  watch.attr("SAME") = static_cast<int>(TensorWatch::kSame);
}

}  // namespace fnn::bindings
