// TensorTable: the tensors that an optimizer steps over, checked once, so that a step is one cheap call.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "bindings/convert.h"
#include "cpu/optimizer.h"

namespace fnn::bindings {

class TensorTable {
 public:
  TensorTable(const py::list& params, const py::list& grads, const py::list& states, py::handle l1, py::handle l2,
              py::handle decay, py::handle lr_scale)
      : slots_(static_cast<int>(states.size())), owners_{params, grads, states} {
    if (slots_ > cpu::kMaxSlots) fail(kTable, "states", "at most 3 lists", std::to_string(slots_));
    check_length("grads", grads, params.size());
    for (int k = 0; k < slots_; ++k)
      check_length("states[" + std::to_string(k) + "]", slot_list(states, k), params.size());
    for (std::size_t i = 0; i < params.size(); ++i) add(params, grads, states, i);
    check_apart();
    const auto count = static_cast<std::int64_t>(params.size());
    Border border(kTable);
    const auto copy = [&](const char* name, py::handle array, float cpu::OptimizerTensor::* field) {
      if (array.is_none()) return;
      const float* values = border.in<float>(name, array, {count}).ptr();
      for (std::int64_t i = 0; i < count; ++i) tensors_[static_cast<std::size_t>(i)].*field = values[i];
    };
    copy("l1", l1, &cpu::OptimizerTensor::l1);
    copy("l2", l2, &cpu::OptimizerTensor::l2);
    copy("decay", decay, &cpu::OptimizerTensor::decay);
    copy("lr_scale", lr_scale, &cpu::OptimizerTensor::lr_scale);
  }

  int slots() const { return slots_; }
  cpu::TensorList list() const { return {tensors_.data(), static_cast<std::int64_t>(tensors_.size()), elements_}; }

 private:
  static constexpr const char* kTable = "TensorTable";
  struct Extent {
    const char *begin, *end;
    bool written;
    std::string name;
  };

  static py::list slot_list(const py::list& states, int k) {
    if (!py::isinstance<py::list>(states[static_cast<std::size_t>(k)])) {
      fail(kTable, "states", "a list of lists, one for each slot", "something else at " + std::to_string(k));
    }
    return states[static_cast<std::size_t>(k)].cast<py::list>();
  }

  static void check_length(const std::string& name, const py::list& list, std::size_t count) {
    if (list.size() == count) return;
    fail(kTable, name, "as many arrays as params, " + std::to_string(count), std::to_string(list.size()));
  }

  void add(const py::list& params, const py::list& grads, const py::list& states, std::size_t i) {
    const std::string at = "[" + std::to_string(i) + "]";
    const std::string param_name = "params" + at, grad_name = "grads" + at;
    Border border(kTable);
    const auto param = border.out_any_shape<float>(param_name.c_str(), params[i]);
    const auto grad = border.in_like<float>(grad_name.c_str(), grads[i], param);
    cpu::OptimizerTensor tensor{param.ptr(), grad.ptr(), {}, elements_, param.count(), 0.f, 0.f, 1.f, 1.f};
    remember(param, true, param_name);
    remember(grad, false, grad_name);
    for (int k = 0; k < slots_; ++k) {
      const std::string name = "states[" + std::to_string(k) + "]" + at;
      const auto state = border.out_like<float>(name.c_str(), slot_list(states, k)[i], param);
      tensor.slots[k] = state.ptr();
      remember(state, true, name);
    }
    elements_ += tensor.count;
    tensors_.push_back(tensor);
  }

  void remember(const RawArray& array, bool written, const std::string& name) {
    if (array.count() == 0) return;
    const char* begin = static_cast<const char*>(array.data);
    extents_.push_back({begin, begin + array.count() * array.item_size, written, name});
  }

  // No array that is written may overlap another one, of whatever tensor.
  void check_apart() {
    std::sort(extents_.begin(), extents_.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
    const Extent *furthest = nullptr, *furthest_written = nullptr;
    for (const Extent& extent : extents_) {
      const Extent* before = extent.written ? furthest : furthest_written;
      if (before != nullptr && before->end > extent.begin) {
        fail(kTable, extent.name, "memory apart from " + before->name, "arrays that overlap");
      }
      if (furthest == nullptr || extent.end > furthest->end) furthest = &extent;
      if (extent.written && (furthest_written == nullptr || extent.end > furthest_written->end)) {
        furthest_written = &extent;
      }
    }
    extents_.clear();
  }

  int slots_;
  std::int64_t elements_ = 0;
  std::vector<cpu::OptimizerTensor> tensors_;
  std::vector<py::object> owners_;  // keep the arrays alive
  std::vector<Extent> extents_;
};

}  // namespace fnn::bindings
