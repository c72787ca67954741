// Counter-based random numbers: Philox4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3").
//
// Block `i` of a sequence is a pure function of (key, counter i): any thread or device computes its part alone, and the
// result does not depend on how the work was split.
#pragma once
#include <cstdint>

#include "base/macros.h"

namespace fnn {

// Product of the low 32 bits of `a` and `b`. A vector of 64-bit integers joins in by overloading it beside itself.
FNN_HD FNN_INLINE std::uint64_t multiply_low(std::uint64_t a, std::uint32_t b) { return (a & 0xffffffffu) * b; }

// Four words of 32 bits, in the low halves of 64-bit integers U (one, or a vector of them: as many blocks at once). The
// high halves are anything: no step reads them, which saves the masks.
template <class U>
struct PhiloxBlock {
  U word[4];
};

template <class U>
FNN_HD FNN_INLINE PhiloxBlock<U> philox(PhiloxBlock<U> counter, std::uint64_t key) {
  std::uint32_t key0 = static_cast<std::uint32_t>(key), key1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const U a = multiply_low(counter.word[0], 0xD2511F53u), b = multiply_low(counter.word[2], 0xCD9E8D57u);
    counter = {{(b >> 32) ^ counter.word[1] ^ U(key0), b, (a >> 32) ^ counter.word[3] ^ U(key1), a}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// A random word r, taken as a signed integer, is below this with probability p (0 <= p < 1).
FNN_HD inline std::int32_t bernoulli_threshold(double p) {
  const double threshold = p * 4294967296.0;
  return static_cast<std::int32_t>((threshold < 4294967295.0 ? threshold : 4294967295.0) - 2147483648.0);
}

}  // namespace fnn
