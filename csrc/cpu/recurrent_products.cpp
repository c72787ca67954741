#include "cpu/recurrent_products.h"

#include <cstring>

#include "cpu/for_each.h"
#include "cpu/gradient.h"
#include "cpu/pack.h"

namespace fnn::cpu {
namespace {

constexpr std::int64_t kDepth = 256;  // the same for every number of rows: that decides on the bits

std::size_t bytes_of(std::int64_t floats) { return static_cast<std::size_t>(floats) * sizeof(float); }

}  // namespace

Gemm Panels::product(std::int64_t rows, std::int64_t columns) const {
  return {{},     rows,  columns, depth_,  nullptr, depth_, false, nullptr,
          kWidth, false, nullptr, columns, false,   {},     kDepth};
}

std::int64_t Panels::scratch_floats(std::int64_t rows) const {
  return static_cast<std::int64_t>(product(rows, std::min(kWidth, columns_)).scratch(1).per_thread / sizeof(float));
}

void Panels::pack(const Worker& worker, const float* b, std::int64_t ldb, bool transposed, float* packed) const {
  const Range mine = share(count(), worker.rank, worker.size);
  for (std::int64_t panel = mine.begin; panel < mine.end; ++panel) {
    const std::int64_t j = panel * kWidth, columns = std::min(kWidth, columns_ - j);
    if (transposed)
      pack_transposed(b + j * ldb, ldb, depth_, columns, kWidth, packed + j * depth_);
    else
      pack_columns(b + j, ldb, depth_, columns, kWidth, packed + j * depth_);
  }
}

void Panels::multiply(const float* packed, std::int64_t rows, const float* a, std::int64_t lda, float* c,
                      std::int64_t ldc, const float* bias, bool accumulate, float* scratch) const {
  for (std::int64_t j = 0; j < columns_; j += kWidth) {
    Gemm part = product(rows, std::min(kWidth, columns_ - j));
    part.a = a;
    part.lda = lda;
    part.b = packed + j * depth_;
    part.c = c + j;
    part.ldc = ldc;
    part.accumulate = accumulate;
    part.epilogue.bias = bias == nullptr ? nullptr : bias + j;
    part.multiply_tiles({0, rows}, {0, part.n}, scratch);
  }
}

void put_output(const Recurrence& k, const float* from, std::int64_t sample, std::int64_t step, float* y, float* h) {
  const std::size_t bytes = bytes_of(k.units);
  if (h != nullptr) std::memcpy(h + place(k, sample, step) * k.units, from, bytes);
  if (y == nullptr) return;
  if (k.sequences)
    std::memcpy(y + (sample * k.steps + step) * k.units, from, bytes);
  else if (step == k.steps - 1)
    std::memcpy(y + sample * k.units, from, bytes);
}

void add_output_gradient(const Recurrence& k, const float* dy, std::int64_t sample, std::int64_t step, float* dh) {
  if (!k.sequences && step < k.steps - 1) return;
  const float* from = dy + (k.sequences ? sample * k.steps + step : sample) * k.units;
  map(0, k.units, dh, [](Vec a, Vec b) { return a + b; }, static_cast<const float*>(dh), from);
}

void sum_biases(const Worker& worker, const Recurrence& k, const float* dz, std::int64_t ldz, std::int64_t columns,
                float* dbias, bool accumulate) {
  const Range mine = share(columns, worker.rank, worker.size, 16);
  column_sums(mine, dz, dbias + mine.begin, k.n * k.steps, ldz, accumulate);
}

void clear_first_steps(const Worker& worker, const Recurrence& k, float* dz, std::int64_t ldz, std::int64_t columns) {
  const Range mine = share(k.n, worker.rank, worker.size);
  for (std::int64_t i = mine.begin; k.steps > 0 && i < mine.end; ++i)
    std::memset(dz + place(k, i, 0) * ldz, 0, bytes_of(columns));
}

}  // namespace fnn::cpu
