// The plan of a matrix product, and its launches.
#include <algorithm>
#include <mutex>

#include "cuda/cublaslt.h"
#include "cuda/gemm.h"
#include "cuda/gemm_task.h"
#include "cuda/pack.cuh"
#include "cuda/product_size.h"
#include "cuda/sum_parts.h"
#include "cuda/workspace.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

// Blocks that keep a large GPU busy, and into how many parts a sum is cut at most.
constexpr int64_t kBusy = 128, kMostSplits = 64;

// By TileSize: rows and columns, and how long a part of a sum is at least, so that its blocks are worth their start.
constexpr int64_t kTileRows[] = {32, 64, 128}, kLeastPart[] = {64, 256, 512};
constexpr int64_t kMostPart = int64_t{1} << 30;  // since depth is counted in 32 bits

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

bool GemmTask::output_in_fours() const { return (gemm.n | gemm.ldc) % kPack == 0 && aligned(gemm.c, gemm.epilogue.z); }

void multiply(const cpu::Gemm& g, const GemmPlan& plan, Compute compute, cudaStream_t stream) {
  if (g.m == 0 || g.n == 0) return;
  const auto run_tiles = [&](const GemmTask& task) {
    if (plan.tile == TileSize::few_rows)
      launch_few_rows(task, stream);
    else if (compute == Compute::float32)
      launch_floats(task, plan.tile, stream);
    else
      launch_tensor_cores(task, compute, plan.tile, stream);
  };
  const int64_t wanted = quotient_up(quotient_up(g.k, plan.splits), kLargestTileDepth) * kLargestTileDepth;
  const int64_t depth = std::clamp<int64_t>(wanted, kLargestTileDepth, kMostPart);
  const int parts = static_cast<int>(std::max<int64_t>(1, quotient_up(g.k, depth)));
  const GemmTask whole = {g, parts, depth};
  if (parts == 1) return run_tiles(whole);
  const Workspace sums(static_cast<std::size_t>(parts * g.m * g.n) * sizeof(float), stream);
  GemmTask in_parts = whole;
  in_parts.gemm.c = sums.as<float>();
  in_parts.gemm.ldc = g.n;
  in_parts.gemm.accumulate = false;
  in_parts.gemm.epilogue = {};
  run_tiles(in_parts);
  sum_parts(sums.as<float>(), parts, g.m, g.n, whole.output(), stream);
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
