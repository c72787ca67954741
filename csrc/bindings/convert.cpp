#include "bindings/convert.h"

#include "bindings/given_array.h"

namespace fnn::bindings {
namespace {

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f64:
      return "float64";
    case DType::i32:
      return "int32";
    case DType::i64:
      return "int64";
    case DType::u8:
      return "uint8";
    case DType::u16:
      return "uint16";
    case DType::u64:
      return "uint64";
    case DType::other:
      break;
  }
  return "numeric";
}

std::string shape_text(const std::int64_t* shape, int rank) {
  std::string text = "(";
  for (int i = 0; i < rank; ++i) {
    if (i > 0) text += ", ";
    text += shape[i] == kAny ? "any" : std::to_string(shape[i]);
  }
  return text + (rank == 1 ? ",)" : ")");
}

std::string strides_text(const RawArray& array) {
  std::string text = "(";
  for (int i = 0; i < array.rank; ++i) text += (i > 0 ? ", " : "") + std::to_string(array.strides[i]);
  return text + (array.rank == 1 ? ",)" : ")");
}

std::string wanted_text(DType dtype, const std::int64_t* wanted, int rank) {
  std::string text = std::string("a ") + name_of(dtype) + " array";
  if (rank >= 0 && wanted != nullptr) return text + " of shape " + shape_text(wanted, rank);
  if (rank >= 0) return text + " of rank " + std::to_string(rank);
  return text;
}

std::string given_text(py::handle object, [[maybe_unused]] Memory memory) {
#ifdef FNN_CUDA
  if (memory == Memory::device) return device_array_text(object);
#endif
  return numpy_array_text(object);
}

bool read(py::handle object, [[maybe_unused]] Memory memory, GivenArray& given) {
#ifdef FNN_CUDA
  if (memory == Memory::device) return read_device_array(object, given);
#endif
  return read_numpy_array(object, given);
}

// What is added to a message about an object that is no array there: where it has to be, and the remedy.
const char* place_of(Memory memory) { return memory == Memory::device ? " on the GPU" : ""; }
const char* library_of(Memory memory) { return memory == Memory::device ? "cupy" : "numpy"; }

bool last_axis_contiguous(const RawArray& array) {
  const bool tight = array.shape[1] <= 1 || array.strides[1] == array.item_size;
  const bool forward = array.shape[0] <= 1 || array.strides[0] >= array.shape[1] * array.item_size;
  return tight && forward && array.strides[0] % array.item_size == 0;
}

}  // namespace

void fail(const char* function, const std::string& argument, const std::string& wanted, const std::string& given) {
  throw py::value_error(std::string(function) + ": " + argument + " must be " + wanted + ", got " + given);
}

RawArray Border::check(const char* name, py::handle object, DType dtype, const std::int64_t* wanted, int rank,
                       int flags) {
  GivenArray given;
  if (!read(object, memory_, given)) {
    const std::string remedy = std::string(library_of(memory_)) + ".asarray first";
    throw py::type_error(std::string(function_) + ": " + name + " must be " + wanted_text(dtype, wanted, rank) +
                         place_of(memory_) + ", got " + given_text(object, memory_) +
                         (memory_ == Memory::device ? "; copy it there with " : "; convert it with ") + remedy);
  }
  const RawArray& array = given.array;
  bool fits = given.numeric && (dtype == DType::other || dtype == given.dtype) && array.rank <= kMaxRank &&
              (rank < 0 || array.rank == rank);
  for (int i = 0; fits && wanted != nullptr && i < rank; ++i) fits = wanted[i] == kAny || wanted[i] == array.shape[i];
  if (!fits) fail(name, wanted_text(dtype, wanted, rank), given_text(object, memory_));
  if (!given.contiguous && !((flags & kStridedRows) && last_axis_contiguous(array))) {
    fail(name, (flags & kStridedRows) ? "contiguous along its last axis" : "C-contiguous",
         given_text(object, memory_) + " with strides " + strides_text(array) + "; pass " + library_of(memory_) +
             ".ascontiguousarray(" + name + ")");
  }
  if (!given.aligned) fail(name, "aligned to its item size", "an unaligned array");
  if ((flags & kWritten) && !given.writable) {
    fail(name, "writable, since the result goes there", "a read-only array");
  }
  remember(name, array, flags);
  keep_while_recorded(object, array.data);
  return array;
}

void Border::remember(const char* name, const RawArray& array, int flags) {
  if (array.count() == 0) return;
  std::int64_t bytes = array.item_size;
  for (int i = 0; i < array.rank; ++i) bytes += (array.shape[i] - 1) * array.strides[i];
  const auto begin = reinterpret_cast<std::uintptr_t>(array.data);
  extents_[count_++] = {name, begin, begin + static_cast<std::uintptr_t>(bytes), flags};
}

void Border::done() const {
  for (int i = 0; i < count_; ++i) {
    for (int j = i + 1; j < count_; ++j) {
      const Extent &a = extents_[i], &b = extents_[j];
      if (((a.flags | b.flags) & kWritten) == 0 || a.end <= b.begin || b.end <= a.begin) continue;
      const bool same_memory = a.begin == b.begin && a.end == b.end;
      const bool allowed = ((a.flags & kWritten) == 0 || (a.flags & kMayCoincide)) &&
                           ((b.flags & kWritten) == 0 || (b.flags & kMayCoincide));
      if (same_memory && allowed) continue;
      const Extent& written = (b.flags & kWritten) ? b : a;
      const Extent& other = (b.flags & kWritten) ? a : b;
      fail(written.name, std::string("memory apart from ") + other.name, "arrays that overlap");
    }
  }
}

}  // namespace fnn::bindings
