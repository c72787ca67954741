// Predictor: a model's forward pass for one batch, from an array to a new array, in as little time as Python allows.
//
// For a small model the arithmetic takes a few microseconds, as long as ten calls of a Python function. So the call is
// a bare C function (about 0.03 microseconds where pybind11's dispatch takes 0.2), looks at the array's header alone,
// and keeps the GIL where it would be wanted back at once.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "bindings/convert.h"
#include "tape/tape.h"

namespace fnn::bindings {
namespace {

// Releasing the GIL is worth it from about 100 microseconds on (in elements of a cheap loop): another thread that takes
// it keeps it for milliseconds.
constexpr std::int64_t kReleaseWork = 1'000'000;

class Predictor {
 public:
  Predictor(std::vector<Py_ssize_t> sample_shape, std::vector<Py_ssize_t> output_shape, py::list layers,
            py::array generation, std::int64_t limit)
      : limit_(limit),
        sample_shape_(std::move(sample_shape)),
        output_shape_(std::move(output_shape)),
        layers_(std::move(layers)),
        generation_array_(std::move(generation)) {
    Border border("Predictor");
    generation_ = border.in<std::int64_t>("generation", generation_array_, {1}).ptr();
    recorded_generation_ = *generation_;
    for (py::handle layer : layers_) recorded_layers_.push_back(py::reinterpret_borrow<py::object>(layer));
    output_shape_.insert(output_shape_.begin(), 0);
    if (sample_shape_.size() + 1 > kMaxRank || output_shape_.size() > kMaxRank)
      border.fail("sample_shape", "of at most 7 axes", std::to_string(sample_shape_.size()));
  }

  // The tape of batches of n: its ports are x and y.
  void add(std::int64_t n, py::object tape) {
    auto* recorded = tape.cast<tape::Tape*>();
    if (recorded->ports() != 2) fail("add", "tape", "one with two ports", std::to_string(recorded->ports()));
    if (recorded->port_bytes(0) != bytes_of(sample_shape_.begin(), sample_shape_.end(), n) ||
        recorded->port_bytes(1) != bytes_of(output_shape_.begin() + 1, output_shape_.end(), n))
      fail("add", "tape", "recorded with batches of " + std::to_string(n), "ports of other sizes");
    for (Batch& batch : batches_)
      if (batch.n == n) return void(batch = {n, recorded, std::move(tape)});
    batches_.push_back({n, recorded, std::move(tape)});
  }
  void clear() { batches_.clear(); }
  std::size_t size() const { return batches_.size(); }

  // The outputs for x as a new array, or null (without an exception) if no tape fits x, the layers and the threads.
  PyObject* operator()(PyObject* object) {
    const void* data = nullptr;
    const std::int64_t n = samples_of(object, &data);
    const auto fits = [n](const Batch& batch) { return batch.n == n; };
    const auto found = std::find_if(batches_.begin(), batches_.end(), fits);
    if (found == batches_.end() || !current(*found) || !ids_fit(n, data)) return nullptr;
    PyObject* output = new_output(n);
    if (output == nullptr) throw py::error_already_set();
    py::object result = py::reinterpret_steal<py::object>(output);
    const tape::Place places[] = {{data, 0}, {py::detail::array_proxy(output)->data, 0}};
    tape::Tape& tape = *found->tape;
    // Others may have the thread team for a tenth of a second: Python's threads need not wait for them too.
    if (tape.work() < kReleaseWork && !ThreadTeam::instance().busy()) {
      tape.replay_soon(places);
    } else {
      const py::object kept = found->object;  // another thread may add tapes meanwhile
      py::gil_scoped_release unlocked;
      tape.replay_soon(places);
    }
    return result.release().ptr();
  }

 private:
  struct Batch {
    std::int64_t n;
    tape::Tape* tape;
    py::object object;  // keeps it
  };

  template <class Iterator>
  static std::size_t bytes_of(Iterator first, Iterator last, std::int64_t n) {
    std::size_t bytes = static_cast<std::size_t>(n) * sizeof(float);
    for (; first != last; ++first) bytes *= static_cast<std::size_t>(*first);
    return bytes;
  }

  // How many samples the array has, and where; -1 if it isn't exactly what the tapes take: float32 (int32 for ids),
  // C-contiguous.
  std::int64_t samples_of(PyObject* object, const void** data) const {
    const auto& api = py::detail::npy_api::get();
    if (Py_TYPE(object) != api.PyArray_Type_) return -1;
    const auto* array = py::detail::array_proxy(object);
    const auto* descriptor = py::detail::array_descriptor_proxy(array->descr);
    constexpr int wanted = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    const std::size_t rank = sample_shape_.size();
    const int type = limit_ > 0 ? py::detail::npy_api::NPY_INT_ : py::detail::npy_api::NPY_FLOAT_;
    if (descriptor->type_num != type || (array->flags & wanted) != wanted ||
        descriptor->byteorder == (PY_LITTLE_ENDIAN ? '>' : '<') || array->nd != static_cast<int>(rank) + 1 ||
        !std::equal(sample_shape_.begin(), sample_shape_.end(), array->dimensions + 1))
      return -1;
    *data = array->data;
    return array->dimensions[0];
  }

  // Whether all ids are in [0, limit): what a tape replays checks nothing.
  bool ids_fit(std::int64_t n, const void* data) const {
    if (limit_ == 0) return true;
    const auto* ids = static_cast<const std::int32_t*>(data);
    const std::size_t count = bytes_of(sample_shape_.begin(), sample_shape_.end(), n) / sizeof(std::int32_t);
    bool inside = true;
    for (std::size_t i = 0; i < count; ++i) inside &= ids[i] >= 0 && ids[i] < limit_;
    return inside;
  }

  // Whether a tape would compute what the model's layers do now.
  bool current(const Batch& batch) const {
    if (*generation_ != recorded_generation_ || batch.tape->threads() != ThreadTeam::instance().size()) return false;
    if (tape::recording() != nullptr || layers_.size() != recorded_layers_.size()) return false;
    for (std::size_t i = 0; i < recorded_layers_.size(); ++i)
      if (PyList_GET_ITEM(layers_.ptr(), static_cast<Py_ssize_t>(i)) != recorded_layers_[i].ptr()) return false;
    return true;
  }

  PyObject* new_output(std::int64_t n) {
    const auto& api = py::detail::npy_api::get();
    output_shape_[0] = n;
    return api.PyArray_NewFromDescr_(api.PyArray_Type_, api.PyArray_DescrFromType_(py::detail::npy_api::NPY_FLOAT_),
                                     static_cast<int>(output_shape_.size()), output_shape_.data(), nullptr, nullptr, 0,
                                     nullptr);
  }

  const std::int64_t limit_;  // 0: x is float32; else x holds int32 ids below it
  const std::vector<Py_ssize_t> sample_shape_;
  std::vector<Py_ssize_t> output_shape_;  // with the batch axis
  const py::list layers_;
  std::vector<py::object> recorded_layers_;
  const py::array generation_array_;
  const std::int64_t* generation_;
  std::int64_t recorded_generation_;
  std::vector<Batch> batches_;
};

PyObject* call_predictor(PyObject* capsule, PyObject* x) {
  try {
    auto& predictor = **static_cast<std::shared_ptr<Predictor>*>(PyCapsule_GetPointer(capsule, nullptr));
    PyObject* y = predictor(x);
    if (y != nullptr) return y;
    Py_RETURN_NONE;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

// The predictor as a built-in function, which keeps it alive.
py::object call_of(const std::shared_ptr<Predictor>& predictor) {
  static PyMethodDef definition = {"predict_batch", &call_predictor, METH_O,
                                   "Outputs for x as a new array, or None if no tape fits."};
  const py::capsule held(new std::shared_ptr<Predictor>(predictor),
                         [](void* pointer) { delete static_cast<std::shared_ptr<Predictor>*>(pointer); });
  return py::reinterpret_steal<py::object>(PyCFunction_New(&definition, held.ptr()));
}

}  // namespace

void bind_predictor(py::module_& module) {
  using namespace py::literals;
  py::class_<Predictor, std::shared_ptr<Predictor>>(module, "Predictor", py::module_local())
      .def(py::init<std::vector<Py_ssize_t>, std::vector<Py_ssize_t>, py::list, py::array, std::int64_t>(),
           "sample_shape"_a, "output_shape"_a, "layers"_a, "generation"_a, "limit"_a = 0)
      .def("add", &Predictor::add, "n"_a, "tape"_a)
      .def("clear", &Predictor::clear)
      .def("__len__", &Predictor::size)
      .def_property_readonly("call", &call_of);
}

}  // namespace fnn::bindings
