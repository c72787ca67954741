// The border between Python's arrays and the kernels: every memory-safety check, each made once, and its message.
//
// Nothing is ever converted or copied here: an array of another dtype, layout or shape is an error that says what is
// wanted. With FNN_CUDA defined arrays lie on the GPU, else they are NumPy's.
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>

namespace fnn::bindings {

namespace py = pybind11;

// Whether arguments lie where the bindings may read them. Where not, a check of an array's content can't be made here:
// the kernel must be safe for any content.
#ifdef FNN_CUDA
inline constexpr bool kOnHost = false;
#else
inline constexpr bool kOnHost = true;
#endif
enum class Memory { host, device };
inline constexpr Memory kMemory = kOnHost ? Memory::host : Memory::device;

inline constexpr int kMaxRank = 8;
inline constexpr std::int64_t kAny = -1;  // in a wanted shape: any length

enum class DType { f32, f64, i32, i64, u8, u16, u64, other };

template <class T>
struct dtype_of;
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct dtype_of<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct dtype_of<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct dtype_of<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct dtype_of<std::uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct dtype_of<std::uint16_t> {
  static constexpr DType value = DType::u16;
};
template <>
struct dtype_of<std::uint64_t> {
  static constexpr DType value = DType::u64;
};

// A checked array: non-owning, valid while its Python object lives.
struct RawArray {
  void* data = nullptr;
  int rank = 0;
  std::int64_t shape[kMaxRank] = {};
  std::int64_t strides[kMaxRank] = {};  // in bytes
  std::int64_t item_size = 0;
  std::int64_t count() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
};
template <class T>
struct Array : RawArray {
  T* ptr() const { return static_cast<T*>(data); }
  explicit operator bool() const { return data != nullptr; }
};

using Shape = std::initializer_list<std::int64_t>;

// Throws ValueError "{function}: {argument} must be {wanted}, got {given}".
[[noreturn]] void fail(const char* function, const std::string& argument, const std::string& wanted,
                       const std::string& given);

// A tape that records keeps the object, which owns the memory at `data`, as long as itself; a graph that is captured
// likewise.
void keep_while_recorded(py::handle object, const void* data = nullptr);
// Whether a tape records, or a graph is captured.
bool recording();

// Checks one call's arguments, one by one, and at the end that no output overlaps another array.
class Border {
 public:
  // `memory`: where the arrays must be, when not where the kernels run.
  explicit Border(const char* function, Memory memory = kMemory) : function_(function), memory_(memory) {}

  // A C-contiguous array of exactly this dtype; `wanted` gives its shape, kAny for any length.
  template <class T>
  Array<const T> in(const char* name, py::handle object, Shape wanted) {
    return typed<const T>(check(name, object, dtype_of<T>::value, wanted.begin(), static_cast<int>(wanted.size()), 0));
  }
  template <class T>
  Array<T> out(const char* name, py::handle object, Shape wanted) {
    return typed<T>(check(name, object, dtype_of<T>::value, wanted.begin(), static_cast<int>(wanted.size()), kWritten));
  }
  // An output that may be one of the inputs itself (same address, same size), for kernels that work in place.
  template <class T>
  Array<T> out_or_in_place(const char* name, py::handle object, Shape wanted) {
    return typed<T>(check(name, object, dtype_of<T>::value, wanted.begin(), static_cast<int>(wanted.size()),
                          kWritten | kMayCoincide));
  }
  // The shape of another array, or (rank_only) any shape.
  template <class T>
  Array<const T> in_like(const char* name, py::handle object, const RawArray& other) {
    return typed<const T>(check(name, object, dtype_of<T>::value, other.shape, other.rank, 0));
  }
  template <class T>
  Array<T> out_like(const char* name, py::handle object, const RawArray& other) {
    return typed<T>(check(name, object, dtype_of<T>::value, other.shape, other.rank, kWritten));
  }
  template <class T>
  Array<T> out_like_or_in_place(const char* name, py::handle object, const RawArray& other) {
    return typed<T>(check(name, object, dtype_of<T>::value, other.shape, other.rank, kWritten | kMayCoincide));
  }
  template <class T>
  Array<const T> in_any_shape(const char* name, py::handle object) {
    return typed<const T>(check(name, object, dtype_of<T>::value, nullptr, -1, 0));
  }
  template <class T>
  Array<T> out_any_shape(const char* name, py::handle object) {
    return typed<T>(check(name, object, dtype_of<T>::value, nullptr, -1, kWritten));
  }
  // A matrix whose rows may be apart (any leading dimension), its last axis contiguous.
  template <class T>
  Array<const T> in_matrix(const char* name, py::handle object) {
    return typed<const T>(check(name, object, dtype_of<T>::value, nullptr, 2, kStridedRows));
  }
  template <class T>
  Array<T> out_matrix(const char* name, py::handle object, Shape wanted) {
    return typed<T>(check(name, object, dtype_of<T>::value, wanted.begin(), 2, kWritten | kStridedRows));
  }
  // C-contiguous, any dtype.
  RawArray in_any_dtype(const char* name, py::handle object) {
    return check(name, object, DType::other, nullptr, -1, 0);
  }
  RawArray out_any_dtype(const char* name, py::handle object) {
    return check(name, object, DType::other, nullptr, -1, kWritten);
  }

  // Call after the last array: an output that overlaps another array would be read after being overwritten.
  void done() const;

  [[noreturn]] void fail(const char* argument, const std::string& wanted, const std::string& given) const {
    bindings::fail(function_, argument, wanted, given);
  }

 private:
  enum Flag { kWritten = 1, kMayCoincide = 2, kStridedRows = 4 };
  struct Extent {
    const char* name;
    std::uintptr_t begin, end;
    int flags;
  };

  template <class T>
  static Array<T> typed(const RawArray& raw) {
    Array<T> array;
    static_cast<RawArray&>(array) = raw;
    return array;
  }
  RawArray check(const char* name, py::handle object, DType dtype, const std::int64_t* wanted, int rank, int flags);
  void remember(const char* name, const RawArray& array, int flags);

  const char* function_;
  Memory memory_;
  Extent extents_[16];
  int count_ = 0;
};

}  // namespace fnn::bindings
