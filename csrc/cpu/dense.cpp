#include "cpu/dense.h"

#include <algorithm>

#include "cpu/dense_update.h"
#include "cpu/for_each.h"
#include "cpu/gradient.h"
#include "cpu/panel.h"

namespace fnn::cpu {
namespace {

Gemm input_gradient_of(const float* dz, const float* w, float* dx, std::int64_t n, std::int64_t in, std::int64_t out) {
  return {{}, n, in, out, dz, out, false, w, out, true, dx, in, false, {}};
}

Gemm weight_gradient_of(const float* x, const float* dz, float* dw, std::int64_t n, std::int64_t in, std::int64_t out,
                        bool accumulate) {
  return {{}, in, out, n, x, in, true, dz, out, false, dw, out, accumulate, {}};
}

// Into how many parts the sums of a product with few samples and many weights are cut, and how long a part is; else 0.
constexpr std::int64_t kParts = 8;
std::int64_t part_length(std::int64_t n, std::int64_t in, std::int64_t out) {
  return n <= 64 && in >= 256 && in * out >= 64 * 1024 ? (in + kParts - 1) / kParts : 0;
}

// The rows of w that are a thread's own in DenseForward and DenseUpdate: they and the optimizer's state of them stay in
// its second-level cache from step to step.
Range weight_rows(const Worker& worker, std::int64_t n, std::int64_t in, std::int64_t out) {
  const std::int64_t length = part_length(n, in, out);
  if (length == 0 || worker.size > kParts) return share(in, worker.rank, worker.size, 16);
  const Range parts = share(kParts, worker.rank, worker.size);
  return {std::min(in, parts.begin * length), std::min(in, parts.end * length)};
}

// A block of the weights' gradient: it stays in the first-level cache until it's used up.
constexpr std::int64_t kBlockRows = 8 * kMaxTileRows, kBlockColumns = 256;

}  // namespace

namespace {

// Whether these parts are all the same thread's.
bool of_one_thread(const Worker& worker, std::int64_t begin, std::int64_t end) {
  for (int rank = 0; rank < worker.size; ++rank) {
    const Range own = share(kParts, rank, worker.size);
    if (own.begin <= begin && end <= own.end) return true;
  }
  return false;
}

}  // namespace

bool DenseForward::in_parts() const { return part_length(m, k, n) > 0; }
bool DenseForward::by_rows() const { return m >= 16 || k * n <= 32 * 1024; }

Scratch DenseForward::scratch(int threads) const {
  Scratch need = Gemm::scratch(threads);
  if (in_parts()) need.shared = static_cast<std::size_t>((kParts - 1) * m * n) * sizeof(float);
  return need;
}

Partition DenseForward::before() const { return in_parts() ? Partition{} : after(); }
Partition DenseForward::after() const { return in_parts() || by_rows() ? Partition{Partition::rows, m} : Partition{}; }

void DenseForward::operator()(const Worker& worker) const {
  if (in_parts()) return sum_parts(worker);
  if (!by_rows()) return Gemm::operator()(worker);
  multiply(share(m, worker.rank, worker.size), {0, n}, worker.scratch<float>());
}

// The parts are added up as the leaves of a tree, two and two: a thread adds up what is its own by itself, and each
// thread then, for some samples, what is of different threads.
void DenseForward::sum_parts(const Worker& worker) const {
  const std::int64_t size = m * n, length = part_length(m, k, n);
  float* sums = epilogue.z == nullptr ? c : epilogue.z;
  const auto part = [&](std::int64_t i) { return i == 0 ? sums : worker.shared<float>() + (i - 1) * size; };
  const auto add = [&](std::int64_t to, std::int64_t from, Range some) {
    map(some.begin, some.end, part(to), [](Vec a, Vec b) { return a + b; }, part(to), part(from));
  };
  const Range mine = share(kParts, worker.rank, worker.size);
  for (std::int64_t i = mine.begin; i < mine.end; ++i) {
    const bool second = i % 2 == 1 && i > mine.begin;
    Gemm product = *this;
    product.k = std::max<std::int64_t>(0, std::min(length, k - i * length));
    product.a += i * length;
    product.b += i * length * ldb;
    product.c = part(second ? i - 1 : i);
    product.accumulate = second;
    product.epilogue = {i == 0 ? epilogue.bias : nullptr, nullptr, Activation::linear, 0.f};
    product.multiply({0, m}, {0, n}, worker.scratch<float>());
  }
  for (std::int64_t width = 4; width <= kParts; width *= 2)
    for (std::int64_t i = 0; i < kParts; i += width)
      if (mine.begin <= i && i + width <= mine.end) add(i, i + width / 2, {0, size});
  worker.barrier();
  const Range rows = share(m, worker.rank, worker.size);
  for (std::int64_t width = 2; width <= kParts; width *= 2)
    for (std::int64_t i = 0; i < kParts; i += width)
      if (!of_one_thread(worker, i, i + width)) add(i, i + width / 2, {rows.begin * n, rows.end * n});
  if (epilogue.z == nullptr && epilogue.activation == Activation::linear) return;
  activate(epilogue.activation, epilogue.alpha, sums + rows.begin * n, c + rows.begin * n, rows.size() * n);
}

Gemm DenseBackward::weight_gradient() const { return weight_gradient_of(x, dz, dw, n, in, out, accumulate); }
Gemm DenseBackward::input_gradient() const { return input_gradient_of(dz, w, dx, n, in, out); }

Scratch DenseBackward::scratch(int threads) const {
  const Scratch a = weight_gradient().scratch(threads), b = input_gradient().scratch(threads);
  return {0, std::max(a.per_thread, b.per_thread)};
}

void DenseBackward::operator()(const Worker& worker) const {
  begin_backward(worker, activation, alpha, saved, dy, dz, db, n, out, accumulate);
  if (dw != nullptr) weight_gradient()(worker);
  if (dx != nullptr) input_gradient()(worker);
}

Gemm DenseInputGradient::product() const { return input_gradient_of(dz, w, dx, n, in, out); }

// Where each thread takes some samples, it transposes all of w for itself: many samples make that worth it.
bool DenseInputGradient::by_rows() const { return dx == nullptr || in * out <= 1024 * n; }

Scratch DenseInputGradient::scratch(int threads) const { return product().scratch(threads); }

Partition DenseInputGradient::before() const { return by_rows() ? Partition{Partition::rows, n} : Partition{}; }

void DenseInputGradient::operator()(const Worker& worker) const {
  const bool rowwise = by_rows();
  const Range rows = share(n, worker.rank, worker.size);
  if (activation != Activation::linear || dz != dy) {
    const std::int64_t first = rows.begin * out;
    activation_gradient(activation, alpha, saved == nullptr ? nullptr : saved + first, dy + first, dz + first,
                        rows.size() * out);
    if (!rowwise) worker.barrier();
  }
  if (dx == nullptr) return;
  if (!rowwise) return product()(worker);
  product().multiply(rows, {0, in}, worker.scratch<float>());
}

Gemm DenseUpdate::weight_gradient() const { return weight_gradient_of(x, dz, nullptr, n, in, out, false); }

Gemm DenseUpdate::part(Range rows, Range columns, float* dw) const {
  Gemm part = weight_gradient();
  part.depth_limit = std::max<std::int64_t>(part.depth(), 1);
  part.m = rows.size();
  part.n = columns.size();
  part.a += rows.begin;
  part.b += columns.begin;
  part.c = dw;
  part.ldc = columns.size();
  return part;
}

Scratch DenseUpdate::scratch(int threads) const {
  const std::int64_t rows = std::min(kBlockRows, in), columns = std::min(kBlockColumns, out);
  const std::size_t block = static_cast<std::size_t>(kBlockRows * kBlockColumns) * sizeof(float);
  return {0, block + part({0, rows}, {0, columns}, nullptr).scratch(threads).per_thread};
}

void DenseUpdate::operator()(const Worker& worker) const {
  float* gradient = worker.scratch<float>();
  float* scratch = gradient + kBlockRows * kBlockColumns;
  const Range mine = weight_rows(worker, n, in, out);
  for (std::int64_t i = mine.begin; w && i < mine.end; i += kBlockRows) {
    const Range rows = {i, std::min(mine.end, i + kBlockRows)};
    for (std::int64_t j = 0; j < out; j += kBlockColumns) {
      const Range columns = {j, std::min(out, j + kBlockColumns)};
      const Gemm dw = part(rows, columns, gradient);
      if (in == 1)
        dw.multiply({0, 1}, {0, dw.n}, scratch);
      else
        dw.multiply_tiles({0, dw.m}, {0, dw.n}, scratch);
      if (columns.size() == out) {
        w(gradient, i * out, rows.size() * out);
      } else {
        for (std::int64_t r = 0; r < rows.size(); ++r)
          w(gradient + r * columns.size(), (i + r) * out + j, columns.size());
      }
    }
  }
  const Range columns = share(out, worker.rank, worker.size, kLanes);
  for (std::int64_t j = columns.begin; b && j < columns.end; j += kBlockColumns) {
    const Range some = {j, std::min(columns.end, j + kBlockColumns)};
    column_sums(some, dz, gradient, n, out, false);
    b(gradient, j, some.size());
  }
}

}  // namespace fnn::cpu
