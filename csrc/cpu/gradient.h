// The parts that the backward passes of dense, convolution and depthwise convolution share; each is one worker's share.
#pragma once
#include <cstdint>

#include "base/thread_team.h"
#include "math/activations.h"

namespace fnn::cpu {

// What every backward pass with an activation and a bias begins with: dz = dy f'(saved), complete when this returns,
// and db (+)= the column sums of dz [rows, columns] unless db is null. saved is y, or the pre-activation where the
// derivative needs it, or null for linear; dz may be dy.
void begin_backward(const Worker& worker, Activation activation, float alpha, const float* saved, const float* dy,
                    float* dz, float* db, std::int64_t rows, std::int64_t columns, bool accumulate);

// The two halves of it for one thread: dz = dy f'(saved) of `count` elements, and db (+)= column sums.
void activation_gradient(Activation activation, float alpha, const float* saved, const float* dy, float* dz,
                         std::int64_t count);
void column_sums(const float* dz, float* db, std::int64_t rows, std::int64_t columns, bool accumulate);

// The sums of the columns `mine` alone, in the same order; db[0] belongs to the first of them.
void column_sums(Range mine, const float* dz, float* db, std::int64_t rows, std::int64_t columns, bool accumulate);

// dw (+)= sum of the workers' parts [worker.size, count], added in the order of their ranks.
void sum_parts(const Worker& worker, const float* parts, std::int64_t count, float* dw, bool accumulate);

}  // namespace fnn::cpu
