// TensorTable: what is checked when it is made, and when the gradients have moved.
#include "bindings/tensor_table.h"

#include <algorithm>

#include "bindings/table_formats.h"

namespace fnn::bindings {
namespace {

constexpr const char* kTable = "TensorTable";
constexpr const char* kOfAddresses = "TensorTable.of_addresses";

// Numbers of the lists.
constexpr int kStates = 2, kScales = kStates + cpu::kMaxSlots, kMasters = kScales + cpu::kMaxSlots;

std::string entry_name(int list, std::int64_t index) {
  const std::string at = "[" + std::to_string(index) + "]";
  if (list == kMasters) return "masters" + at;
  if (list >= kScales) return "scales[" + std::to_string(list - kScales) + "]" + at;
  if (list < 2) return (list == 0 ? "params" : "grads") + at;
  return "states[" + std::to_string(list - 2) + "]" + at;
}

py::list slot_list(const py::list& states, int k) {
  if (!py::isinstance<py::list>(states[static_cast<std::size_t>(k)])) {
    fail(kTable, "states", "a list of lists, one for each slot", "something else at " + std::to_string(k));
  }
  return states[static_cast<std::size_t>(k)].cast<py::list>();
}

void check_table_length(const std::string& name, const py::list& list, std::size_t count) {
  if (list.size() == count) return;
  fail(kTable, name, "as many arrays as params, " + std::to_string(count), std::to_string(list.size()));
}

int checked_slots(const char* function, std::size_t slots) {
  if (slots > cpu::kMaxSlots) fail(function, "states", "at most 3 lists", std::to_string(slots));
  return static_cast<int>(slots);
}

// An int64 array of addresses or sizes, one for each tensor.
const std::int64_t* numbers(Border& border, const char* name, py::handle array, std::int64_t count) {
  return border.in<std::int64_t>(name, array, {count}).ptr();
}

template <class T>
T* pointer_to(std::int64_t address) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
}
std::int64_t address_of(const void* pointer) {
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(pointer));
}

}  // namespace

TensorTable::TensorTable(const py::list& params, const py::list& grads, const py::list& states, py::handle l1,
                         py::handle l2, py::handle decay, py::handle lr_scale)
    : slots_(checked_slots(kTable, states.size())), owners_{params, grads, states} {
  check_table_length("grads", grads, params.size());
  for (int k = 0; k < slots_; ++k)
    check_table_length("states[" + std::to_string(k) + "]", slot_list(states, k), params.size());
  for (std::size_t i = 0; i < params.size(); ++i) add(params, grads, states, i);
  find_written();
  check_grads();
  copy_settings(l1, l2, decay, lr_scale);
  note_change();
}

std::unique_ptr<TensorTable> TensorTable::of_addresses(py::handle params, py::handle grads, const py::list& states,
                                                       py::handle counts, const py::dict& dtypes,
                                                       const py::list& scales, py::handle masters, py::handle seed,
                                                       py::handle l1, py::handle l2, py::handle decay,
                                                       py::handle lr_scale, bool borrowed) {
  std::unique_ptr<TensorTable> table(new TensorTable(checked_slots(kOfAddresses, states.size())));
  table->formats_ = table_formats(dtypes, table->slots_, !masters.is_none(), seed);
  table->borrowed_ = borrowed;
  Border border(kOfAddresses, Memory::host);
  const auto sizes = border.in<std::int64_t>("counts", counts, {kAny});
  const std::int64_t count = sizes.count();
  const std::int64_t* param = numbers(border, "params", params, count);
  const std::int64_t* grad = numbers(border, "grads", grads, count);
  const std::int64_t* state[cpu::kMaxSlots] = {};
  for (std::size_t k = 0; k < states.size(); ++k) state[k] = numbers(border, "states", states[k], count);
  for (std::int64_t i = 0; i < count; ++i) {
    cpu::OptimizerTensor tensor{pointer_to<float>(param[i]),
                                pointer_to<const float>(grad[i]),
                                {},
                                table->elements_,
                                sizes.ptr()[i],
                                0.f,
                                0.f,
                                1.f,
                                1.f};
    for (int k = 0; k < table->slots_; ++k) tensor.slots[k] = pointer_to<float>(state[k][i]);
    table->elements_ += tensor.count;
    table->tensors_.push_back(tensor);
  }
  table->take_scales(scales);
  table->take_masters(masters);
  table->find_written();
  table->check_grads();
  table->copy_settings(l1, l2, decay, lr_scale);
  table->note_change();
  return table;
}

void TensorTable::take_scales(const py::list& scales) {
  Border border(kOfAddresses, Memory::host);
  for (int k = 0; k < slots_; ++k) {
    const auto at = static_cast<std::size_t>(k);
    const py::object given = at < scales.size() ? py::object(scales[at]) : py::none();
    const std::string name = "scales[" + std::to_string(k) + "]";
    if (is_8_bit(formats_.slots[k]) == given.is_none())
      border.fail(name.c_str(),
                  given.is_none() ? "an array, as the state has 8 bits" : "None, as the state has more than 8 bits",
                  given.is_none() ? "None" : "an array");
    if (given.is_none()) continue;
    const std::int64_t* address = numbers(border, name.c_str(), given, static_cast<std::int64_t>(tensors_.size()));
    for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].scales[k] = pointer_to<float>(address[i]);
  }
}

void TensorTable::take_masters(py::handle masters) {
  if (masters.is_none()) return;
  Border border(kOfAddresses, Memory::host);
  const std::int64_t* address = numbers(border, "masters", masters, static_cast<std::int64_t>(tensors_.size()));
  for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].master = pointer_to<void>(address[i]);
}

bool TensorTable::matches(py::handle params, py::handle grads, const py::list& states) const {
  if (static_cast<int>(states.size()) != slots_) return false;
  const auto count = static_cast<std::int64_t>(tensors_.size());
  Border border("TensorTable.matches", Memory::host);
  const std::int64_t* param = numbers(border, "params", params, count);
  const std::int64_t* grad = numbers(border, "grads", grads, count);
  bool same = true;
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    same &= address_of(tensors_[i].param) == param[i] && address_of(tensors_[i].grad) == grad[i];
  for (int k = 0; k < slots_; ++k) {
    const std::int64_t* state = numbers(border, "states", states[static_cast<std::size_t>(k)], count);
    for (std::size_t i = 0; i < tensors_.size(); ++i) same &= address_of(tensors_[i].slots[k]) == state[i];
  }
  return same;
}

void TensorTable::move_grads(py::handle grads) {
  Border border("TensorTable.move_grads", Memory::host);
  const std::int64_t* grad = numbers(border, "grads", grads, static_cast<std::int64_t>(tensors_.size()));
  for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].grad = pointer_to<const float>(grad[i]);
  note_grads();
  check_grads();
}

void TensorTable::add(const py::list& params, const py::list& grads, const py::list& states, std::size_t i) {
  const auto name = [i](int list) { return entry_name(list, static_cast<std::int64_t>(i)); };
  Border border(kTable);
  const auto param = border.out_any_shape<float>(name(0).c_str(), params[i]);
  const auto grad = border.in_like<float>(name(1).c_str(), grads[i], param);
  cpu::OptimizerTensor tensor{param.ptr(), grad.ptr(), {}, elements_, param.count(), 0.f, 0.f, 1.f, 1.f};
  for (int k = 0; k < slots_; ++k)
    tensor.slots[k] = border.out_like<float>(name(2 + k).c_str(), slot_list(states, k)[i], param).ptr();
  elements_ += tensor.count;
  tensors_.push_back(tensor);
}

void TensorTable::copy_settings(py::handle l1, py::handle l2, py::handle decay, py::handle lr_scale) {
  Border border(kTable, Memory::host);
  const auto copy = [&](const char* name, py::handle array, float cpu::OptimizerTensor::* field) {
    if (array.is_none()) return;
    const float* values = border.in<float>(name, array, {static_cast<std::int64_t>(tensors_.size())}).ptr();
    for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].*field = values[i];
  };
  copy("l1", l1, &cpu::OptimizerTensor::l1);
  copy("l2", l2, &cpu::OptimizerTensor::l2);
  copy("decay", decay, &cpu::OptimizerTensor::decay);
  copy("lr_scale", lr_scale, &cpu::OptimizerTensor::lr_scale);
}

void TensorTable::set_adapts(py::handle adapts) {
  Border border("TensorTable.set_adapts", Memory::host);
  const float* values = border.in<float>("adapts", adapts, {static_cast<std::int64_t>(tensors_.size())}).ptr();
  for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].adapts = values[i] != 0.f;
  note_change();
}

void TensorTable::set_rows(py::handle rows) {
  const char* name = "TensorTable.set_rows";
  Border border(name, Memory::host);
  const std::int64_t* values = numbers(border, "rows", rows, static_cast<std::int64_t>(tensors_.size()));
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (values[i] < 1 || tensors_[i].count % values[i] != 0) {
      fail(name, "rows[" + std::to_string(i) + "]", "a divisor of " + std::to_string(tensors_[i].count) + " elements",
           std::to_string(values[i]));
    }
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].rows = values[i];
  note_change();
}

// No array that is written may overlap another one, of whatever tensor.
void TensorTable::find_written() {
  const bool halves = formats_.master == cpu::Master::remainder;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const cpu::OptimizerTensor& tensor = tensors_[i];
    if (tensor.count == 0) continue;
    remember(i, 0, tensor.param, stored_bytes(formats_.param, tensor.count));
    if (tensor.master != nullptr)
      remember(i, kMasters, tensor.master, static_cast<std::uintptr_t>(tensor.count) * (halves ? 2 : 4));
    for (int k = 0; k < slots_; ++k) {
      remember(i, kStates + k, tensor.slots[k], stored_bytes(formats_.slots[k], tensor.count));
      if (tensor.scales[k] != nullptr)
        remember(i, kScales + k, tensor.scales[k], stored_bytes(cpu::Format::float32, scale_count(tensor.count)));
    }
  }
  std::sort(written_.begin(), written_.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  for (std::size_t i = 1; i < written_.size(); ++i)
    if (written_[i - 1].end > written_[i].begin) refuse_overlap(written_[i], written_[i - 1]);
}

void TensorTable::remember(std::size_t tensor, int list, const void* data, std::uintptr_t bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  written_.push_back({begin, begin + bytes, static_cast<std::int64_t>(tensor), list});
}

// Nor may a gradient, which a search of the sorted ones tells in a fraction of the time that sorting takes.
void TensorTable::check_grads() const {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const auto begin = reinterpret_cast<std::uintptr_t>(tensors_[i].grad);
    const auto end = begin + stored_bytes(formats_.grad, tensors_[i].count);
    if (begin == end) continue;
    const auto after = std::lower_bound(written_.begin(), written_.end(), end,
                                        [](const Extent& extent, std::uintptr_t at) { return extent.begin < at; });
    if (after != written_.begin() && (after - 1)->end > begin)
      refuse_overlap({begin, end, static_cast<std::int64_t>(i), 1}, *(after - 1));
  }
}

void TensorTable::refuse_overlap(const Extent& one, const Extent& other) {
  fail(kTable, entry_name(one.list, one.index), "memory apart from " + entry_name(other.list, other.index),
       "arrays that overlap");
}

}  // namespace fnn::bindings
