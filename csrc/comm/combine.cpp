#include "comm/combine.h"

#include <algorithm>
#include <type_traits>

#include "base/macros.h"
#include "math/combine.h"

namespace fnn::comm {
namespace {

constexpr std::int64_t kTile = 2048;  // elements that are combined in the first-level cache

struct Arrays {
  void* const* destinations;
  int destination_count;
  const void* const* sources;
  int source_count;
  std::int64_t count;
  int divisor;
};

template <class F>
const typename F::Stored* source(const Arrays& arrays, int i) {
  return static_cast<const typename F::Stored*>(arrays.sources[i]);
}
template <class F>
typename F::Stored* destination(const Arrays& arrays, int i) {
  return static_cast<typename F::Stored*>(arrays.destinations[i]);
}

// Two ranks: no tile in between. Each element is read before it's written, whichever arrays are the same.
template <class F, class Op, int destinations>
void combine_two(const Arrays& arrays) {
  const auto *a = source<F>(arrays, 0), *b = source<F>(arrays, 1);
  auto *x = destination<F>(arrays, 0), *y = destination<F>(arrays, destinations - 1);
  const bool divide = arrays.divisor != 1;
#pragma GCC ivdep
  for (std::int64_t i = 0; i < arrays.count; ++i) {
    const auto sum = Op::of(F::load(a[i]), F::load(b[i]));
    const auto result = F::store(divide ? divided(sum, arrays.divisor) : sum);
    x[i] = result;
    if constexpr (destinations == 2) y[i] = result;
  }
}

template <class F, class Op>
void combine_tile(const Arrays& arrays, std::int64_t begin, std::int64_t size) {
  typename F::Sum tile[kTile];
  const auto* first = source<F>(arrays, 0) + begin;
  for (std::int64_t i = 0; i < size; ++i) tile[i] = F::load(first[i]);
  for (int s = 1; s < arrays.source_count; ++s) {
    const auto* next = source<F>(arrays, s) + begin;
    for (std::int64_t i = 0; i < size; ++i) tile[i] = Op::of(tile[i], F::load(next[i]));
  }
  if (arrays.divisor != 1) {
    for (std::int64_t i = 0; i < size; ++i) tile[i] = divided(tile[i], arrays.divisor);
  }
  for (int d = 0; d < arrays.destination_count; ++d) {
    auto* to = destination<F>(arrays, d) + begin;
    for (std::int64_t i = 0; i < size; ++i) to[i] = F::store(tile[i]);
  }
}

template <class F, class Op>
void combine_all(const Arrays& arrays) {
  if (arrays.source_count == 2 && arrays.destination_count == 1) return combine_two<F, Op, 1>(arrays);
  if (arrays.source_count == 2 && arrays.destination_count == 2) return combine_two<F, Op, 2>(arrays);
  for (std::int64_t begin = 0; begin < arrays.count; begin += kTile) {
    combine_tile<F, Op>(arrays, begin, std::min(kTile, arrays.count - begin));
  }
}

template <class F>
void combine_by(Combine how, const Arrays& arrays) {
  if (how == Combine::max) return combine_all<F, Max>(arrays);
  if (how == Combine::min) return combine_all<F, Min>(arrays);
  combine_all<F, Add>(arrays);
}

}  // namespace

void combine(Combine how, Type type, void* const* destinations, int destination_count, const void* const* sources,
             int source_count, std::int64_t count, int divisor) {
  const Arrays arrays{destinations, destination_count, sources, source_count, count, divisor};
  switch (type) {
    case Type::f32:
      return combine_by<Plain<float>>(how, arrays);
    case Type::f64:
      return combine_by<Plain<double>>(how, arrays);
    case Type::f16:
      return combine_by<Float16>(how, arrays);
    case Type::bf16:
      return combine_by<Bfloat16>(how, arrays);
    case Type::i32:
      return combine_by<Plain<std::int32_t>>(how, arrays);
    case Type::i64:
      return combine_by<Plain<std::int64_t>>(how, arrays);
  }
}

void narrow(Wire wire, std::uint16_t* to, const float* from, std::int64_t count) {
  if (wire == Wire::bf16) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = Bfloat16::store(from[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) to[i] = Float16::store(from[i]);
  }
}

void widen(Wire wire, float* to, const std::uint16_t* from, std::int64_t count) {
  if (wire == Wire::bf16) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = Bfloat16::load(from[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) to[i] = Float16::load(from[i]);
  }
}

}  // namespace fnn::comm
