#include "comm/copy.h"

#include <cstring>

namespace fnn::comm {
namespace {

constexpr std::int64_t kWide = 32, kStep = 4 * kWide;  // bytes
using Wide = char __attribute__((vector_size(kWide), aligned(kWide), may_alias));
using WideAnywhere = char __attribute__((vector_size(kWide), aligned(1), may_alias));

}  // namespace

void copy_bytes(void* to, const void* from, std::int64_t bytes) {
  if (to == from || bytes <= 0) return;
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  if (bytes >= 2 * kStep) {
    const auto head = static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(to) % kWide);
    std::memcpy(target, source, kWide);
    target += head;
    source += head;
    bytes -= head;
    for (; bytes >= kStep; target += kStep, source += kStep, bytes -= kStep) {
      const auto* read = reinterpret_cast<const WideAnywhere*>(source);
      auto* write = reinterpret_cast<Wide*>(target);
      const Wide first = read[0], second = read[1], third = read[2], fourth = read[3];
      write[0] = first;
      write[1] = second;
      write[2] = third;
      write[3] = fourth;
    }
  }
  std::memcpy(target, source, static_cast<std::size_t>(bytes));
}

}  // namespace fnn::comm
