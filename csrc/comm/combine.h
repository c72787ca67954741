// The arithmetic of collectives: what several ranks have becomes one, in the order of the ranks, whatever came first.
#pragma once
#include <cstdint>

#include "comm/call.h"

namespace fnn::comm {

// For each i below count: combines sources[0][i], sources[1][i], ... in this order and writes it to all destinations.
// float16 and bfloat16 are summed in float32 and rounded once. A destination may be one of the sources. `divisor`: of a
// mean, the number of ranks; 1 if it isn't time to divide yet.
void combine(Combine how, Type type, void* const* destinations, int destination_count, const void* const* sources,
             int source_count, std::int64_t count, int divisor);

// float32 as it travels: in 16 bits, rounded to the nearest.
void narrow(Wire wire, std::uint16_t* to, const float* from, std::int64_t count);
void widen(Wire wire, float* to, const std::uint16_t* from, std::int64_t count);

}  // namespace fnn::comm
