// The plan of a matrix product, and the sum of its parts.
#include <algorithm>
#include <mutex>

#include "cuda/cublaslt.h"
#include "cuda/for_each.cuh"
#include "cuda/gemm.h"
#include "cuda/gemm_task.cuh"
#include "cuda/workspace.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

// Blocks that keep a large GPU busy, and into how many parts a sum is cut at most.
constexpr int64_t kBusy = 128, kMostSplits = 64;

// By TileSize: rows and columns, and how long a part of a sum is at least, so that its blocks are worth their start.
constexpr int64_t kTileRows[] = {32, 64, 128}, kLeastPart[] = {64, 256, 512};
constexpr int64_t kPartUnit = 16;  // a multiple of every tile's depth

// Products from which on cuBLASLt's kernels are worth the longer way to them.
constexpr int64_t kManyProducts = 128 * 128 * 128;

std::mutex wanted_plan_mutex;
std::optional<GemmPlan> wanted_plan;

GemmPlan plan_of(const cpu::Gemm& g, Compute compute) {
  const std::lock_guard<std::mutex> lock(wanted_plan_mutex);
  return wanted_plan ? *wanted_plan : gemm_plan(g, compute);
}

bool suits_cublaslt(const cpu::Gemm& g) {
  const GemmBackend backend = gemm_backend_setting.load(std::memory_order_relaxed);
  return backend == GemmBackend::cublaslt || (backend == GemmBackend::automatic && g.m * g.n * g.k >= kManyProducts);
}

int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// C [m, n] = f(sum of the parts + bias), the parts lying one behind the other.
__global__ void add_parts(const float* parts, int count, const __grid_constant__ GemmOutput out, bool whole_parts) {
  const int64_t across = (out.n + kPack - 1) / kPack;
  with_activation(out.epilogue.activation, out.epilogue.alpha, [&](auto f) {
    for (int64_t i = first_index(); i < out.m * across; i += index_stride()) {
      const int64_t row = i / across, column = i % across * kPack;
      Pack sum = {};
      for (int part = 0; part < count; ++part) {
        const Pack more = load_pack(parts + (part * out.m + row) * out.n + column, out.n - column, whole_parts);
        for (int j = 0; j < kPack; ++j) sum.v[j] += more.v[j];
      }
      finish(out, f, sum, row, column);
    }
  });
}

}  // namespace

GemmPlan gemm_plan(const cpu::Gemm& g, Compute compute) {
  const int64_t m = g.m, n = g.n, k = g.k;
  if (m <= kMostFewRows && !g.b_transposed && compute == Compute::float32) {
    const int64_t blocks = std::max<int64_t>(1, quotient_up(n, 128)), most = std::max<int64_t>(1, k / 64);
    return {TileSize::few_rows, static_cast<int>(std::min({kMostSplits, most, quotient_up(kBusy, blocks)}))};
  }
  const int smallest = compute == Compute::float32 ? 0 : 1;
  for (int tile = 2;; --tile) {
    const int64_t blocks = quotient_up(m, kTileRows[tile]) * quotient_up(n, kTileRows[tile]);
    const int64_t most = std::min(kMostSplits, std::max<int64_t>(1, k / kLeastPart[tile]));
    const int64_t splits = blocks == 0 ? 1 : std::min(most, quotient_up(kBusy, blocks));
    if (tile == smallest || blocks * splits >= kBusy) return {static_cast<TileSize>(tile), static_cast<int>(splits)};
  }
}

void multiply(const cpu::Gemm& g, const GemmPlan& plan, Compute compute, cudaStream_t stream) {
  if (g.m == 0 || g.n == 0) return;
  const Operand a = {g.a, g.lda, g.m, aligned(g.a) && g.lda % kPack == 0};
  const Operand b = {g.b, g.ldb, g.n, aligned(g.b) && g.ldb % kPack == 0};
  const bool whole = aligned(g.c, g.epilogue.z, g.epilogue.bias) && g.ldc % kPack == 0;
  const GemmOutput out = {g.c, g.ldc, g.m, g.n, g.accumulate, g.epilogue, whole};
  const int64_t part = std::max(kPartUnit, quotient_up(quotient_up(g.k, plan.splits), kPartUnit) * kPartUnit);
  const int splits = static_cast<int>(std::max<int64_t>(1, quotient_up(g.k, part)));
  const bool along_a = !g.a_transposed, along_b = g.b_transposed;
  const auto run_tiles = [&](const GemmTask& task) {
    if (plan.tile == TileSize::few_rows)
      launch_few_rows(task, splits, along_a, stream);
    else if (compute == Compute::float32)
      launch_floats(task, plan.tile, splits, along_a, along_b, stream);
    else
      launch_tensor_cores(task, compute, plan.tile, splits, along_a, along_b, stream);
  };
  if (splits == 1) return run_tiles({a, b, out, g.k, part});
  const Workspace parts(static_cast<std::size_t>(splits * g.m * g.n) * sizeof(float), stream);
  const bool whole_parts = g.n % kPack == 0;
  run_tiles({a, b, {parts.as<float>(), g.n, g.m, g.n, false, {}, whole_parts}, g.k, part});
  const unsigned blocks = blocks_for(g.m * quotient_up(g.n, kPack));
  FNN_CUDA_CHECK(launch(add_parts, blocks, kThreads, 0, stream, parts.as<float>(), splits, out, whole_parts));
}

void set_gemm_plan(std::optional<GemmPlan> plan) {
  const std::lock_guard<std::mutex> lock(wanted_plan_mutex);
  wanted_plan = plan;
}

void multiply(const cpu::Gemm& gemm, cudaStream_t stream) {
  const Compute precision = compute();
  if (suits_cublaslt(gemm) && multiply_by_cublaslt(gemm, precision, nullptr, stream)) return;
  multiply(gemm, plan_of(gemm, precision), precision, stream);
}

bool multiply_and_sum_columns(const cpu::Gemm& gemm, float* sums, cudaStream_t stream) {
  return suits_cublaslt(gemm) && multiply_by_cublaslt(gemm, compute(), sums, stream);
}

template <>
void run(const cpu::Gemm& kernel, cudaStream_t stream) {
  multiply(kernel, stream);
}

}  // namespace fnn::cuda
