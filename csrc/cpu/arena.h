// Cuts a block of scratch memory into typed, aligned pieces; the same sequence of calls on a null block measures it.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fnn::cpu {

class ArenaCutter {
 public:
  explicit ArenaCutter(void* block = nullptr) : block_(static_cast<std::byte*>(block)) {}

  template <class T>
  T* take(std::int64_t count) {
    T* piece = block_ == nullptr ? nullptr : reinterpret_cast<T*>(block_ + used_);
    used_ += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* block_;
  std::size_t used_ = 0;
};

}  // namespace fnn::cpu
