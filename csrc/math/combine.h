// How the elements of several ranks' arrays become one: the numbers that they are stored as, and what is done with two.
//
// 16-bit floats are combined as float32.
#pragma once
#include <cstdint>
#include <type_traits>

#include "math/rounding.h"

namespace fnn {

template <class T>
struct Plain {
  using Stored = T;
  using Sum = T;
  static FNN_HD FNN_INLINE Sum load(Stored x) { return x; }
  static FNN_HD FNN_INLINE Stored store(Sum x) { return x; }
};
struct Bfloat16 {
  using Stored = std::uint16_t;
  using Sum = float;
  static FNN_HD FNN_INLINE Sum load(Stored x) { return bfloat16_to_float(static_cast<std::int32_t>(x)); }
  static FNN_HD FNN_INLINE Stored store(Sum x) { return static_cast<Stored>(float_to_bfloat16(x)); }
};
struct Float16 {
  using Stored = std::uint16_t;
  using Sum = float;
  static FNN_HD FNN_INLINE Sum load(Stored x) { return float16_to_float(static_cast<std::int32_t>(x)); }
  static FNN_HD FNN_INLINE Stored store(Sum x) { return static_cast<Stored>(float_to_float16(x)); }
};

struct Add {
  template <class T>
  static FNN_HD FNN_INLINE T of(T a, T b) {
    // Two's complement: an integer's overflow wraps around.
    if constexpr (std::is_integral_v<T>) {
      using U = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    } else {
      return a + b;
    }
  }
};
// Not-a-number wins, as in NumPy: otherwise it would depend on the order of the ranks.
struct Max {
  template <class T>
  static FNN_HD FNN_INLINE T of(T a, T b) {
    return a >= b || a != a ? a : b;
  }
};
struct Min {
  template <class T>
  static FNN_HD FNN_INLINE T of(T a, T b) {
    return a <= b || a != a ? a : b;
  }
};

template <class T>
FNN_HD FNN_INLINE T divided(T x, int divisor) {
  if constexpr (std::is_integral_v<T>) {
    return x;  // the border refuses means of integers
  } else {
    return x / static_cast<T>(divisor);
  }
}

}  // namespace fnn
