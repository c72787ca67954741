// Copies parts of a matrix into the order in which the micro-kernel reads them.
#pragma once
#include <cstdint>

namespace fnn::cpu {

// dst[t*width + j] = b[t*ldb + j] for j < columns and 0 for columns <= j < width: rows of B, padded to whole vectors.
void pack_columns(const float* b, std::int64_t ldb, std::int64_t rows, std::int64_t columns, std::int64_t width,
                  float* dst);

// dst[t*width + j] = b[j*ldb + t] for j < columns, else 0: the same from a transposed matrix, whose rows run along t.
void pack_transposed(const float* b, std::int64_t ldb, std::int64_t rows, std::int64_t columns, std::int64_t width,
                     float* dst);

}  // namespace fnn::cpu
