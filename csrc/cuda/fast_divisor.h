// Division by a number that is known before a kernel starts, as a multiplication (Granlund and Montgomery, 1994,
// "Division by Invariant Integers using Multiplication"): a few instructions where a division is dozens.
#pragma once
#include <cstdint>

#include "base/macros.h"

namespace fnn::cuda {

// Of dividends from 0 to 2^31 - 1 by a divisor of at least 1 in that range.
class FastDivisor {
 public:
  FastDivisor() = default;
  FNN_HD explicit FastDivisor(int divisor) : divisor_(divisor) {
    while ((std::uint64_t{1} << shift_) < static_cast<std::uint64_t>(divisor)) ++shift_;
    const std::uint64_t excess = (std::uint64_t{1} << shift_) - static_cast<std::uint64_t>(divisor);
    factor_ = static_cast<std::uint32_t>((excess << 32) / static_cast<std::uint64_t>(divisor) + 1);
  }

  FNN_HD int divisor() const { return divisor_; }
  FNN_HD int quotient(int n) const {
    const std::uint32_t high =
        static_cast<std::uint32_t>((std::uint64_t{factor_} * static_cast<std::uint32_t>(n)) >> 32);
    return static_cast<int>((high + static_cast<std::uint32_t>(n)) >> shift_);
  }

 private:
  int divisor_ = 1;
  int shift_ = 0;
  std::uint32_t factor_ = 1;
};

// Of any dividend from 0 on by any divisor of at least 1: fast as long as both are small.
class Divisor {
 public:
  FNN_HD explicit Divisor(std::int64_t divisor)
      : divisor_(divisor), fast_(static_cast<int>(divisor < INT32_MAX ? divisor : INT32_MAX)) {}

  FNN_HD std::int64_t quotient(std::int64_t n) const {
    return n < INT32_MAX ? fast_.quotient(static_cast<int>(n)) : n / divisor_;
  }

 private:
  std::int64_t divisor_;
  FastDivisor fast_;
};

}  // namespace fnn::cuda
