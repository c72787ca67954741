// Matrix products on a GPU: by cuBLASLt where that is found and the product is large, else by kernels of our own.
//
// A block of threads computes a tile of C. Where C has few tiles and the sums are long, these are cut into parts for
// blocks of their own, whose results are added up in order by a second kernel: the same bits in every run, and on every
// GPU, since the plan asks for sizes alone.
#pragma once
#include <atomic>
#include <optional>

#include "cpu/gemm.h"
#include "cuda/compute.h"
#include "cuda/run.h"

namespace fnn::cuda {

// A block's rows and columns of C: 32, 64 or 128 of both (not 32 with tensor cores; 64 instead of 128 where lines are
// no fours of floats, or where a block may not have as much shared memory); or all rows, at most 8, and 128 columns,
// with B as it is and without tensor cores.
enum class TileSize : int { small, medium, large, few_rows };

struct GemmPlan {
  TileSize tile;
  int splits;  // parts of the sums over k
};

GemmPlan gemm_plan(const cpu::Gemm& gemm, Compute compute);

// By our own kernels.
void multiply(const cpu::Gemm& gemm, const GemmPlan& plan, Compute compute, cudaStream_t stream);

// At the precision that has been set, by whichever is faster.
void multiply(const cpu::Gemm& gemm, cudaStream_t stream);

// The same, and the sums of the columns of B [k, n] with it; or nothing, and false, where that isn't to be had at once.
bool multiply_and_sum_columns(const cpu::Gemm& gemm, float* sums, cudaStream_t stream);

// Of the process: who computes what cuBLASLt can (automatic: by the size of the product), and the plan of our kernels
// where it isn't to follow from the sizes. For tests and measurements.
enum class GemmBackend : int { automatic, own, cublaslt };
inline constexpr const char* kGemmBackendNames[] = {"auto", "own", "cublaslt"};
inline std::atomic<GemmBackend> gemm_backend_setting{GemmBackend::automatic};
void set_gemm_plan(std::optional<GemmPlan> plan);

}  // namespace fnn::cuda
