// Neighbouring channels of one pixel, loaded and stored by one instruction: four floats are 16 bytes.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "cuda/fnn_cuda.h"

namespace fnn::cuda {

template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth) Channels {
  T at[kWidth];
};

template <int kWidth, class T>
__device__ inline Channels<T, kWidth> load_channels(const T* p) {
  return *reinterpret_cast<const Channels<T, kWidth>*>(p);
}
template <int kWidth, class T>
__device__ inline void store_channels(T* p, const Channels<T, kWidth>& values) {
  *reinterpret_cast<Channels<T, kWidth>*>(p) = values;
}

// Whether an array of items of `bytes` bytes begins where four of them may be read at once.
inline bool aligned_to_four(const void* p, int bytes) {
  return bytes == 0 || reinterpret_cast<std::uintptr_t>(p) % static_cast<std::uintptr_t>(4 * bytes) == 0;
}

// Calls body(width) with the number of channels that a thread takes, as a type: four where they are a multiple of four
// and the arrays lie right, else one.
template <class Body>
void with_width(std::int64_t channels, bool lie_right, std::initializer_list<const float*> floats, const Body& body) {
  bool four = channels % 4 == 0 && lie_right;
  for (const float* p : floats) four = four && aligned_to_four(p, sizeof(float));
  if (four) return body(std::integral_constant<int, 4>());
  body(std::integral_constant<int, 1>());
}

}  // namespace fnn::cuda
