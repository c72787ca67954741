// Lists of arrays that belong together entry by entry, seen as memory without a detour through Python: arrays of NumPy
// on the CPU, or of a framework that shows its tensors by DLPack's exchange API, on the CPU or with FNN_CUDA on one
// GPU; dense in whatever order of their axes. What is out of the ordinary is left to fastnn/_arrays.py, messages too.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bindings/convert.h"
#include "bindings/dlpack.h"

namespace fnn::bindings {

// How the elements of an array lie, in elements: strides are 0 where they don't matter.
struct Layout {
  int rank = 0;
  std::int64_t count = 1, shape[kMaxRank], strides[kMaxRank];

  // Forgets the strides along axes of length 1, and all of them if there is no element. `strides` in bytes.
  template <class Length, class Stride>
  void set(int axes, const Length* lengths, const Stride* bytes, std::int64_t item_size);
  bool equals(const Layout& other) const;
  // Whether the elements fill a stretch of memory, without gaps or overlaps.
  bool dense() const;
};

class ArrayLists {
 public:
  // What is done with a list, a letter for each: 'r' it's read, 'w' written, entries laid out as those of the first
  // list; 's' written, laid out in any dense way. `tensor_type`: of the framework, or None. Null if an entry or a list
  // is out of the ordinary, or doesn't fit.
  static std::unique_ptr<ArrayLists> of(const py::list& lists, const std::string& roles, py::handle tensor_type);

  // Which list holds other arrays than that of `other`: its number if it's the only one, -1 if all are the same, -2 if
  // there are several or the lists are others.
  int difference(const ArrayLists& other) const;
  // int64[entries]: where the arrays of a list lie, and how many elements they have.
  py::object addresses(int list) const { return column(list, &Entry::address); }
  py::object counts(int list) const { return column(list, &Entry::count); }
  // The dtype of each list, "" if it has no entry.
  std::vector<std::string> dtypes() const;
  // The address of the first array of a list, by which whoever keeps something for the lists finds it.
  int device() const { return device_; }
  std::int64_t key() const { return entries_.empty() ? 0 : entries_[0].address; }

 private:
  struct Entry {
    std::int64_t address = 0, count = 0;
  };
  py::object column(int list, std::int64_t Entry::* field) const;

  std::int64_t length_ = 0;
  std::int32_t device_ = 0;          // the number of the GPU
  std::vector<const char*> dtypes_;  // of each list
  std::vector<Entry> entries_;       // list after list
};

}  // namespace fnn::bindings
