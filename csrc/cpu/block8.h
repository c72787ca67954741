// Blocks of numbers in 8 bits with a common scale (math/dynamic8.h).
//
// A block with an infinity or a NaN gets NaN for its scale: all of it is NaN from then on, so that nothing gets lost.
// One whose numbers are all below the smallest normal float gets 0.
#pragma once
#include <cstdint>

#include "math/dynamic8.h"

namespace fnn::cpu {

// Up to kBlock8 numbers.
template <bool kSigned>
void load_block8(const std::uint8_t* codes, float scale, std::int64_t count, float* to);
// Returns the scale.
template <bool kSigned>
float store_block8(const float* from, std::int64_t count, std::uint8_t* codes);

}  // namespace fnn::cpu
