// Losses that are means of independent terms: value and gradient element by element, four at a time.
#include <type_traits>

#include "cpu/loss.h"
#include "cuda/for_each.cuh"
#include "cuda/partial_sums.cuh"

namespace fnn::cuda {
namespace {

using std::int64_t;

// The weights of neighbouring elements; those of a row share one.
class RowWeights {
 public:
  __device__ RowWeights(const float* weights, int64_t at, int64_t rows, int64_t cols)
      : weights_(weights), row_(at / cols), col_(at % cols), rows_(rows), cols_(cols) {}
  __device__ double next() {
    const double weight = row_ < rows_ ? weights_[row_] : 0.0;
    if (++col_ == cols_) col_ = 0, ++row_;
    return weight;
  }

 private:
  const float* weights_;
  int64_t row_, col_, rows_, cols_;
};

// This thread's part of the sum of the weights.
__device__ inline double weight_share(const cpu::LossArguments& k) {
  if (k.weights == nullptr) return first_index() == 0 ? static_cast<double>(k.rows) : 0.0;
  double sum = 0;
  for (int64_t i = first_index(); i < k.rows; i += index_stride()) sum += k.weights[i];
  return sum;
}

template <class Term, bool kWeighted>
__global__ void __launch_bounds__(kSumThreads) mean_terms(cpu::MeanLoss<Term> k, bool whole, double* parts) {
  const int64_t count = k.rows * k.cols;
  const double scale = k.scale / static_cast<double>(k.cols > 0 ? k.cols : 1);
  const auto common = static_cast<float>(scale);
  double sums[2] = {};
  for (int64_t at = first_index() * kPack; at < count; at += index_stride() * kPack) {
    const Pack p = load_pack(k.pred + at, count - at, whole), t = load_pack(k.targets + at, count - at, whole);
    RowWeights weights(k.weights, kWeighted ? at : 0, k.rows, k.cols);
    Pack d;
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      const LossTerm<float> term = k.term(p.v[j], t.v[j]);
      const double weight = kWeighted ? weights.next() : 1.0;
      if (at + j < count) sums[0] += static_cast<double>(term.value) * weight;
      d.v[j] = term.gradient * (kWeighted ? static_cast<float>(scale * weight) : common);
    }
    if (k.gradient != nullptr) store_pack(k.gradient + at, d, count - at, whole);
  }
  sums[0] *= scale;
  if (k.weight_total != nullptr) sums[1] = weight_share(k);
  leave_sums<2>(sums, {{k.loss, k.weight_total}}, parts);
}

template <class Term>
void run_terms(const cpu::MeanLoss<Term>& k, cudaStream_t stream) {
  const int64_t packs = (k.rows * k.cols + kPack - 1) / kPack;
  if (packs == 0) return;
  const unsigned blocks = sum_blocks(packs);
  const bool whole = aligned(k.pred, k.targets, k.gradient);
  run_summing<2>(blocks, {{k.loss, k.weight_total}}, stream, [&](double* parts) {
    const auto kernel = k.weights != nullptr ? mean_terms<Term, true> : mean_terms<Term, false>;
    FNN_CUDA_CHECK(launch(kernel, blocks, kSumThreads, 0, stream, k, whole, parts));
  });
}

}  // namespace

template <>
void run(const cpu::MeanLoss<SquaredError>& k, cudaStream_t stream) {
  run_terms(k, stream);
}
template <>
void run(const cpu::MeanLoss<AbsoluteError>& k, cudaStream_t stream) {
  run_terms(k, stream);
}
template <>
void run(const cpu::MeanLoss<HuberError>& k, cudaStream_t stream) {
  run_terms(k, stream);
}
template <>
void run(const cpu::MeanLoss<SigmoidCrossEntropy>& k, cudaStream_t stream) {
  run_terms(k, stream);
}
template <>
void run(const cpu::MeanLoss<BinaryCrossEntropy>& k, cudaStream_t stream) {
  run_terms(k, stream);
}

}  // namespace fnn::cuda
