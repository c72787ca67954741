// The additions of a ring all-reduce. Bound by memory: three times an element's bytes, one operation.
#include "cuda/error.h"
#include "cuda/for_each.cuh"
#include "cuda/peer_combine.h"
#include "math/combine.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

template <class F, class Op>
__device__ inline typename F::Stored combined(typename F::Stored a, typename F::Stored b, int divisor) {
  const auto sum = Op::of(F::load(a), F::load(b));
  return F::store(divisor == 1 ? sum : divided(sum, divisor));
}

template <class T>
struct alignas(16) Chunk {
  static constexpr int kCount = 16 / sizeof(T);
  T v[kCount];
};

// `whole`: all arrays are aligned to 16 bytes.
template <class F, class Op>
__global__ void combine_kernel(const typename F::Stored* incoming, const typename F::Stored* own,
                               typename F::Stored* out, int64_t count, int divisor, bool whole) {
  using T = typename F::Stored;
  using Chunk16 = Chunk<T>;
  constexpr int64_t n = Chunk16::kCount;
  const int64_t chunks = whole ? count / n : 0;
  for (int64_t i = first_index(); i < chunks; i += index_stride()) {
    const Chunk16 a = reinterpret_cast<const Chunk16*>(incoming)[i], b = reinterpret_cast<const Chunk16*>(own)[i];
    Chunk16 result;
#pragma unroll
    for (int k = 0; k < n; ++k) result.v[k] = combined<F, Op>(a.v[k], b.v[k], divisor);
    reinterpret_cast<Chunk16*>(out)[i] = result;
  }
  for (int64_t i = chunks * n + first_index(); i < count; i += index_stride()) {
    out[i] = combined<F, Op>(incoming[i], own[i], divisor);
  }
}

template <class F, class Op>
void launch_combine(const PeerCombine& call, cudaStream_t stream) {
  using T = typename F::Stored;
  const auto address = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); };
  const bool whole = (address(call.incoming) | address(call.own) | address(call.out)) % 16 == 0;
  const unsigned blocks = blocks_for(whole ? call.count / Chunk<T>::kCount : call.count);
  FNN_CUDA_CHECK(launch(combine_kernel<F, Op>, blocks, kThreads, 0, stream, static_cast<const T*>(call.incoming),
                        static_cast<const T*>(call.own), static_cast<T*>(call.out), call.count, call.divisor, whole));
}

template <class F>
void combine_by(const PeerCombine& call, cudaStream_t stream) {
  if (call.op == comm::Combine::max) return launch_combine<F, Max>(call, stream);
  if (call.op == comm::Combine::min) return launch_combine<F, Min>(call, stream);
  launch_combine<F, Add>(call, stream);
}

}  // namespace

template <>
void run(const PeerCombine& call, cudaStream_t stream) {
  if (call.count == 0) return;
  switch (call.type) {
    case comm::Type::f32:
      return combine_by<Plain<float>>(call, stream);
    case comm::Type::f64:
      return combine_by<Plain<double>>(call, stream);
    case comm::Type::f16:
      return combine_by<Float16>(call, stream);
    case comm::Type::bf16:
      return combine_by<Bfloat16>(call, stream);
    case comm::Type::i32:
      return combine_by<Plain<std::int32_t>>(call, stream);
    case comm::Type::i64:
      return combine_by<Plain<std::int64_t>>(call, stream);
  }
}

}  // namespace fnn::cuda
