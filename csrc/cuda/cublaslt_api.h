// The part of cuBLASLt's interface that is used, as versions 12 and 13 have it: the library is loaded at run time and
// its headers need not be there when this is compiled. Values from "cuBLAS Library" (NVIDIA), chapter "Using the
// cuBLASLt API"; tests/test_cublaslt.py compares them with the header where that is installed.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cuda/run.h"

namespace fnn::cuda::lt {

using Handle = struct Context*;
using MatmulDesc = struct MatmulDescOpaque*;
using MatrixLayout = struct MatrixLayoutOpaque*;
using Preference = struct PreferenceOpaque*;

enum Status : int { SUCCESS = 0, NOT_SUPPORTED = 15 };  // CUBLAS_STATUS_
enum DataType : int { R_32F = 0 };                      // CUDA_
enum Operation : std::int32_t { OP_N = 0, OP_T = 1 };   // CUBLAS_

enum ComputeType : int {
  COMPUTE_32F = 68,
  COMPUTE_32F_FAST_16F = 74,
  COMPUTE_32F_FAST_16BF = 75,
  COMPUTE_32F_FAST_TF32 = 77
};  // CUBLAS_

enum MatmulDescAttribute : int {
  MATMUL_DESC_TRANSA = 3,
  MATMUL_DESC_TRANSB = 4,
  MATMUL_DESC_EPILOGUE = 7,
  MATMUL_DESC_BIAS_POINTER = 8
};  // CUBLASLT_

enum Epilogue : std::uint32_t {
  EPILOGUE_DEFAULT = 1,
  EPILOGUE_BIAS = 4,
  EPILOGUE_GELU = 32,
  EPILOGUE_GELU_BIAS = 36,
  EPILOGUE_BGRADA = 256
};  // CUBLASLT_

enum PreferenceAttribute : int {
  MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
  MATMUL_PREF_REDUCTION_SCHEME_MASK = 3,
  MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
  MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
  MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
  MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8
};  // CUBLASLT_

enum ReductionScheme : std::uint32_t { REDUCTION_SCHEME_COMPUTE_TYPE = 2 };  // CUBLASLT_

struct Algo {
  std::uint64_t data[8];
};

struct HeuristicResult {
  Algo algo;
  std::size_t workspace_size;
  Status state;
  float waves_count;
  int reserved[4];
};

// Each function that is loaded: its name after cublasLt, what it returns, what it takes.
#define FNN_EACH_CUBLASLT_FUNCTION(USE)                                                                               \
  USE(GetVersion, std::size_t, ())                                                                                    \
  USE(GetStatusName, const char*, (Status))                                                                           \
  USE(Create, Status, (Handle*))                                                                                      \
  USE(MatmulDescCreate, Status, (MatmulDesc*, ComputeType, DataType))                                                 \
  USE(MatmulDescDestroy, Status, (MatmulDesc))                                                                        \
  USE(MatmulDescSetAttribute, Status, (MatmulDesc, MatmulDescAttribute, const void*, std::size_t))                    \
  USE(MatrixLayoutCreate, Status, (MatrixLayout*, DataType, std::uint64_t, std::uint64_t, std::int64_t))              \
  USE(MatrixLayoutDestroy, Status, (MatrixLayout))                                                                    \
  USE(MatmulPreferenceCreate, Status, (Preference*))                                                                  \
  USE(MatmulPreferenceDestroy, Status, (Preference))                                                                  \
  USE(MatmulPreferenceSetAttribute, Status, (Preference, PreferenceAttribute, const void*, std::size_t))              \
  USE(MatmulAlgoGetHeuristic, Status,                                                                                 \
      (Handle, MatmulDesc, MatrixLayout, MatrixLayout, MatrixLayout, MatrixLayout, Preference, int, HeuristicResult*, \
       int*))                                                                                                         \
  USE(Matmul, Status,                                                                                                 \
      (Handle, MatmulDesc, const void*, const void*, MatrixLayout, const void*, MatrixLayout, const void*,            \
       const void*, MatrixLayout, void*, MatrixLayout, const Algo*, void*, std::size_t, cudaStream_t))

}  // namespace fnn::cuda::lt
