// Matrix products by cuBLASLt, which thinks in columns: C^T [n, m] = op(B)^T op(A)^T, so that its A is our B and the
// rows of its result are the columns of ours. Kernels are chosen once for each kind of call, with split sums only where
// their parts are added up in order.
#include <array>
#include <map>
#include <mutex>
#include <optional>

#include "cpu/activation.h"
#include "cuda/cublaslt.h"
#include "cuda/cublaslt_library.h"
#include "cuda/error.h"
#include "cuda/workspace.h"

namespace fnn::cuda {
namespace {

using std::int64_t;

// What NVIDIA recommends for the newest GPUs.
constexpr std::size_t kMostWorkspace = 32 << 20;
constexpr std::size_t kMostPlans = 1024;

lt::ComputeType compute_type(Compute compute) {
  switch (compute) {
    case Compute::tf32:
      return lt::COMPUTE_32F_FAST_TF32;
    case Compute::bfloat16:
      return lt::COMPUTE_32F_FAST_16BF;
    case Compute::float16:
      return lt::COMPUTE_32F_FAST_16F;
    case Compute::float32:
      break;
  }
  return lt::COMPUTE_32F;
}

// What a plan depends on: sizes, steps, transposes, epilogue, precision, the alignments of A, B, C and bias, device.
using Key = std::array<int64_t, 16>;

int64_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer) | 256;
  return static_cast<int64_t>(address & (~address + 1));
}

struct Call {
  const cpu::Gemm& gemm;
  lt::ComputeType compute;
  lt::Epilogue epilogue;
  const float* bias;  // read or, the gradient of one, written

  Key key(int device) const {
    return {gemm.m,
            gemm.n,
            gemm.k,
            gemm.lda,
            gemm.ldb,
            gemm.ldc,
            gemm.a_transposed,
            gemm.b_transposed,
            gemm.accumulate,
            epilogue,
            compute,
            alignment(gemm.a),
            alignment(gemm.b),
            alignment(gemm.c),
            alignment(bias),
            device};
  }
};

struct Plan {
  lt::MatmulDesc desc = nullptr;
  lt::MatrixLayout a = nullptr, b = nullptr, c = nullptr;
  std::optional<lt::HeuristicResult> kernel;  // none: the library has none for this
};

class Plans {
 public:
  static Plans& instance() {
    static Plans* const only = new Plans();  // never destroyed: at exit, the library may be gone before
    return *only;
  }

  bool run(const Call& call, cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex_);
    int device = 0;
    FNN_CUDA_CHECK(cudaGetDevice(&device));
    const lt::Handle handle = handle_of(device);
    const Plan& plan = plan_of(handle, call, call.key(device));
    if (!plan.kernel) return false;
    set(plan.desc, lt::MATMUL_DESC_BIAS_POINTER, call.bias);
    const float one = 1.f, beta = call.gemm.accumulate ? 1.f : 0.f;
    const std::size_t bytes = plan.kernel->workspace_size;
    const Workspace workspace(bytes, stream);
    library_.check(
        library_.Matmul(handle, plan.desc, &one, call.gemm.b, plan.a, call.gemm.a, plan.b, &beta, call.gemm.c, plan.c,
                        call.gemm.c, plan.c, &plan.kernel->algo, workspace.as<void>(), bytes, stream),
        "cublasLtMatmul");
    return true;
  }

 private:
  Plans() : library_(lt::library()) {}

  lt::Handle handle_of(int device) {
    lt::Handle& handle = handles_[device];
    if (handle == nullptr) library_.check(library_.Create(&handle), "cublasLtCreate");
    return handle;
  }

  template <class T>
  void set(lt::MatmulDesc desc, lt::MatmulDescAttribute attribute, T value) {
    library_.check(library_.MatmulDescSetAttribute(desc, attribute, &value, sizeof value),
                   "cublasLtMatmulDescSetAttribute");
  }
  template <class T>
  void set(lt::Preference preference, lt::PreferenceAttribute attribute, T value) {
    library_.check(library_.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
                   "cublasLtMatmulPreferenceSetAttribute");
  }
  lt::MatrixLayout layout(int64_t rows, int64_t columns, int64_t ld) {
    lt::MatrixLayout made = nullptr;
    library_.check(library_.MatrixLayoutCreate(&made, lt::R_32F, static_cast<std::uint64_t>(rows),
                                               static_cast<std::uint64_t>(columns), ld),
                   "cublasLtMatrixLayoutCreate");
    return made;
  }

  const Plan& plan_of(lt::Handle handle, const Call& call, const Key& key) {
    const auto known = plans_.find(key);
    if (known != plans_.end()) return known->second;
    if (plans_.size() >= kMostPlans) forget();
    Plan plan;
    const cpu::Gemm& g = call.gemm;
    library_.check(library_.MatmulDescCreate(&plan.desc, call.compute, lt::R_32F), "cublasLtMatmulDescCreate");
    set(plan.desc, lt::MATMUL_DESC_TRANSA, g.b_transposed ? lt::OP_T : lt::OP_N);
    set(plan.desc, lt::MATMUL_DESC_TRANSB, g.a_transposed ? lt::OP_T : lt::OP_N);
    set(plan.desc, lt::MATMUL_DESC_EPILOGUE, call.epilogue);
    set(plan.desc, lt::MATMUL_DESC_BIAS_POINTER, call.bias);
    plan.a = g.b_transposed ? layout(g.k, g.n, g.ldb) : layout(g.n, g.k, g.ldb);
    plan.b = g.a_transposed ? layout(g.m, g.k, g.lda) : layout(g.k, g.m, g.lda);
    plan.c = layout(g.n, g.m, g.ldc);
    plan.kernel = choose(handle, call, plan);
    return plans_.emplace(key, plan).first->second;
  }

  std::optional<lt::HeuristicResult> choose(lt::Handle handle, const Call& call, const Plan& plan) {
    lt::Preference preference = nullptr;
    library_.check(library_.MatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const auto aligned_to = [](const void* pointer) { return static_cast<std::uint32_t>(alignment(pointer)); };
    set(preference, lt::MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
    set(preference, lt::MATMUL_PREF_REDUCTION_SCHEME_MASK, lt::REDUCTION_SCHEME_COMPUTE_TYPE);
    set(preference, lt::MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, aligned_to(call.gemm.b));
    set(preference, lt::MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, aligned_to(call.gemm.a));
    set(preference, lt::MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, aligned_to(call.gemm.c));
    set(preference, lt::MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, aligned_to(call.gemm.c));
    lt::HeuristicResult result = {};
    int count = 0;
    const lt::Status status = library_.MatmulAlgoGetHeuristic(handle, plan.desc, plan.a, plan.b, plan.c, plan.c,
                                                              preference, 1, &result, &count);
    library_.MatmulPreferenceDestroy(preference);
    if (status == lt::NOT_SUPPORTED) return {};
    library_.check(status, "cublasLtMatmulAlgoGetHeuristic");
    if (count == 0 || result.state != lt::SUCCESS) return {};
    return result;
  }

  void forget() {
    for (auto& item : plans_) {
      library_.MatmulDescDestroy(item.second.desc);
      for (const lt::MatrixLayout made : {item.second.a, item.second.b, item.second.c})
        library_.MatrixLayoutDestroy(made);
    }
    plans_.clear();
  }

  const lt::Library& library_;
  std::mutex mutex_;
  std::map<int, lt::Handle> handles_;
  std::map<Key, Plan> plans_;
};

}  // namespace

bool multiply_by_cublaslt(const cpu::Gemm& g, Compute compute, float* column_sums, cudaStream_t stream) {
  const cpu::Epilogue& end = g.epilogue;
  if (g.m == 0 || g.n == 0 || g.k == 0 || !lt::library()) return false;
  // Its GELU is the one by tanh, to how many bits isn't said; its ReLU isn't said to let NaN through.
  const bool gelu = end.activation == Activation::gelu_tanh && compute != Compute::float32 && end.z == nullptr;
  const bool ours = !gelu && (end.activation != Activation::linear || end.z != nullptr);
  if (ours && (g.ldc != g.n || g.accumulate)) return false;
  cpu::Gemm product = g;
  if (end.z != nullptr) product.c = end.z;
  unsigned epilogue = end.bias != nullptr ? lt::EPILOGUE_BIAS : lt::EPILOGUE_DEFAULT;
  if (gelu) epilogue = end.bias != nullptr ? lt::EPILOGUE_GELU_BIAS : lt::EPILOGUE_GELU;
  if (column_sums != nullptr) epilogue = lt::EPILOGUE_BGRADA;
  const float* const bias = column_sums != nullptr ? column_sums : end.bias;
  const Call call = {product, compute_type(compute), static_cast<lt::Epilogue>(epilogue), bias};
  if (!Plans::instance().run(call, stream)) return false;
  if (ours) run(cpu::ActivationForward{{}, product.c, g.c, g.m * g.n, end.activation, end.alpha}, stream);
  return true;
}

}  // namespace fnn::cuda
