// TensorTable: the tensors that an optimizer steps over, checked once, so that a step is one cheap call.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "bindings/convert.h"
#include "cpu/optimizer.h"
#ifdef FNN_CUDA
#include "bindings/stream.h"
#include "cuda/device_tensors.h"
#endif

namespace fnn::bindings {

// On a GPU steps read a copy of the table, which is renewed in the order of the stream of the step that needs it.
class TensorTable {
 public:
  // Of arrays, which the table keeps alive.
  TensorTable(const py::list& params, const py::list& grads, const py::list& states, py::handle l1, py::handle l2,
              py::handle decay, py::handle lr_scale);

  // Of memory that the caller keeps alive and has checked: addresses, int64[n] each, of `counts` elements that lie in
  // the same order in a parameter, its gradient, its states and its master. `scales`: for each slot addresses of
  // float32 arrays with a scale for every 256 elements, or None where it isn't of 8 bits. `dtypes`, `seed`: see
  // table_formats.h. `borrowed`: steps run on borrowed threads.
  static std::unique_ptr<TensorTable> of_addresses(py::handle params, py::handle grads, const py::list& states,
                                                   py::handle counts, const py::dict& dtypes, const py::list& scales,
                                                   py::handle masters, py::handle seed, py::handle l1, py::handle l2,
                                                   py::handle decay, py::handle lr_scale, bool borrowed);
  // Whether the tensors lie at these addresses.
  bool matches(py::handle params, py::handle grads, const py::list& states) const;
  // From now on the gradients lie at these addresses.
  void move_grads(py::handle grads);

  // Which tensors take the ratio of a rule with one for each tensor: float32[n], not 0.
  void set_adapts(py::handle adapts);
  // That the tensors are matrices in C order of so many rows, int64[n].
  void set_rows(py::handle rows);

  int slots() const { return slots_; }
  bool has_rows() const { return tensors_.empty() || tensors_[0].rows > 0; }
  bool borrowed() const { return borrowed_; }
  cpu::TensorList list() const {
    const auto count = static_cast<std::int64_t>(tensors_.size());
    cpu::TensorList list{tensors_.data(), count, elements_, formats_};
#ifdef FNN_CUDA
    list.device = on_device_.on(current_stream(), tensors_.data(), count);
#endif
    return list;
  }

 private:
  // Memory of one array: `list` is 0 for the parameters, 1 for the gradients, then come the states, their scales and
  // the masters.
  struct Extent {
    std::uintptr_t begin, end;
    std::int64_t index;
    int list;
  };

  explicit TensorTable(int slots) : slots_(slots) {}
  void add(const py::list& params, const py::list& grads, const py::list& states, std::size_t i);
  void copy_settings(py::handle l1, py::handle l2, py::handle decay, py::handle lr_scale);
  void take_scales(const py::list& scales);
  void take_masters(py::handle masters);
  void remember(std::size_t tensor, int list, const void* data, std::uintptr_t bytes);
  void find_written();
  void check_grads() const;
  [[noreturn]] static void refuse_overlap(const Extent& one, const Extent& other);
#ifdef FNN_CUDA
  // Enqueued at once: a graph that is captured later finds it there.
  void note_change() {
    on_device_.note_change();
    list();
  }
  void note_grads() { on_device_.note_grads(); }
  mutable cuda::DeviceTable on_device_;
#else
  void note_change() {}
  void note_grads() {}
#endif

  int slots_;
  bool borrowed_ = false;
  std::int64_t elements_ = 0;
  cpu::Formats formats_;
  std::vector<cpu::OptimizerTensor> tensors_;
  std::vector<Extent> written_;     // parameters and states, sorted; no two overlap
  std::vector<py::object> owners_;  // keep the arrays alive
};

}  // namespace fnn::bindings
