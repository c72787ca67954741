// XLA's own threads, for kernels that run between its operations: it works on whatever is ready side by side, and a
// second team of threads would only take the cores from it.
#pragma once
#include <cstdint>

#include "xla/call.h"

namespace fnn::xla {

using ShareBody = void (*)(const void* data, std::int64_t share, std::int64_t shares);
void for_shares_erased(const Call& call, std::int64_t shares, ShareBody body, const void* data);

// Calls body(share, shares) once for every share in [0, shares), on the calling thread and on those of XLA's that have
// nothing else to do, and returns when all are done. No share may wait for another one: they may all run in turn.
template <class Body>
void for_shares(const Call& call, std::int64_t shares, const Body& body) {
  for_shares_erased(
      call, shares,
      [](const void* data, std::int64_t share, std::int64_t count) { (*static_cast<const Body*>(data))(share, count); },
      &body);
}

}  // namespace fnn::xla
