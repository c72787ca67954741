// The positions that max pooling remembers: a vector of integers, stored in one or two bytes each.
#pragma once
#include <cstdint>
#include <cstring>

#include "cpu/lanes.h"

namespace fnn::cpu {

template <class Index>
struct Packed;
template <>
struct Packed<std::uint8_t> {
  typedef std::uint8_t type __attribute__((vector_size(kLanes)));
};
template <>
struct Packed<std::uint16_t> {
  typedef std::uint16_t type __attribute__((vector_size(2 * kLanes)));
};

template <class Index>
FNN_INLINE VecInt load_index(const Index* p, AllLanes) {
  typename Packed<Index>::type packed;
  std::memcpy(&packed, p, sizeof packed);
  return {__builtin_convertvector(packed, NativeI32)};
}
template <class Index>
FNN_INLINE void store_index(Index* p, VecInt index, AllLanes) {
  const auto packed = __builtin_convertvector(index.v, typename Packed<Index>::type);
  std::memcpy(p, &packed, sizeof packed);
}

// The first few lanes, one by one: a copy of unknown length is a call of memcpy, which costs more.
template <class Index>
FNN_INLINE VecInt load_index(const Index* p, FirstLanes lanes) {
  std::int32_t index[kLanes] = {};
  for (std::int64_t i = 0; i < lanes.count; ++i) index[i] = p[i];
  NativeI32 v;
  std::memcpy(&v, index, sizeof v);
  return {v};
}
template <class Index>
FNN_INLINE void store_index(Index* p, VecInt index, FirstLanes lanes) {
  Index packed[kLanes];
  store_index(packed, index, AllLanes{});
  for (std::int64_t i = 0; i < lanes.count; ++i) p[i] = packed[i];
}

}  // namespace fnn::cpu
