// A stand-in for libcublasLt on host memory: the functions that fastnn loads, in plain C++, which check what they are
// given as NVIDIA's documentation demands it. Numbers are written as in NVIDIA's header, not taken from csrc/.
//
// Environment: STANDIN_VERSION is what cublasLtGetVersion returns (else 130002); STANDIN_FAIL names a function without
// its cublasLt that returns STANDIN_STATUS (else 13). Compiled with -DSTANDIN_INCOMPLETE, cublasLtMatmul is missing.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr int kSuccess = 0, kInvalid = 7, kNotSupported = 15;
constexpr std::uint64_t kAlgoMark = 0xc0b1a51700000000u;

struct Desc {
  int compute, scale;
  std::int32_t transa = 0, transb = 0;
  std::uint32_t epilogue = 1;
  void* bias = nullptr;
};
struct Layout {
  int type;
  std::uint64_t rows, columns;
  std::int64_t ld;
};
struct Preference {
  std::uint64_t workspace = 0;
  std::uint32_t reduction = 7, alignment[4] = {256, 256, 256, 256};
};
struct Algo {
  std::uint64_t data[8];
};
struct Result {
  Algo algo;
  std::size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

int handle;
std::int64_t matmuls = 0, heuristics = 0, gradients = 0;  // gradients: products with that of a bias

int refuse(const char* why) {
  std::fprintf(stderr, "standin: %s\n", why);
  return kInvalid;
}

// The status that the environment wants of this function, or kSuccess.
int wanted(const char* function) {
  const char* failing = std::getenv("STANDIN_FAIL");
  if (failing == nullptr || std::strcmp(failing, function) != 0) return kSuccess;
  const char* status = std::getenv("STANDIN_STATUS");
  return status == nullptr ? 13 : std::atoi(status);
}

template <class T>
int take(T& to, const void* from, std::size_t size) {
  if (size != sizeof(T)) return refuse("an attribute of another size");
  std::memcpy(&to, from, size);
  return kSuccess;
}

// A float as the tensor cores get it: to the nearest with that many bits of mantissa dropped, ties to even or away.
float rounded(float x, int compute) {
  if (compute == 68 || !(x - x == 0)) return x;
  const int dropped = compute == 75 ? 16 : 13;
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const std::uint32_t half = 1u << (dropped - 1);
  bits += compute == 77 ? half : half - 1 + (bits >> dropped & 1);
  bits &= ~(2 * half - 1);
  std::memcpy(&x, &bits, 4);
  return x;
}

bool known_compute(int compute) { return compute == 68 || compute == 74 || compute == 75 || compute == 77; }
bool known_epilogue(std::uint32_t e) { return e == 1 || e == 4 || e == 32 || e == 36 || e == 256; }

struct Sizes {
  std::uint64_t m, n, k;
};

int check_shapes(const Desc& d, const Layout& a, const Layout& b, const Layout& c, Sizes& s) {
  for (const Layout* layout : {&a, &b, &c}) {
    if (layout->type != 0) return refuse("a matrix that isn't float32");
    if (layout->rows == 0 || layout->columns == 0) return refuse("an empty matrix");
    if (layout->ld < static_cast<std::int64_t>(layout->rows)) return refuse("a leading dimension below the rows");
  }
  if (d.scale != 0 || !known_compute(d.compute)) return refuse("types of a descriptor that don't go with float32");
  if (!known_epilogue(d.epilogue)) return refuse("an epilogue that doesn't exist");
  if ((d.epilogue & (4 | 256)) != 0 && d.bias == nullptr) return refuse("no vector for an epilogue that needs one");
  if (d.epilogue == 256 && d.transa != 0) return kNotSupported;
  s.m = d.transa ? a.columns : a.rows;
  s.k = d.transa ? a.rows : a.columns;
  s.n = d.transb ? b.rows : b.columns;
  if ((d.transb ? b.columns : b.rows) != s.k) return refuse("inner dimensions that differ");
  if (c.rows != s.m || c.columns != s.n) return refuse("a result of another shape");
  return kSuccess;
}

double gelu(double x) { return x / (1 + __builtin_exp(-2 * 0.7978845608028654 * (x + 0.044715 * x * x * x))); }

void multiply(const Desc& d, const Sizes& s, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
              float beta, float* c, std::int64_t ldc) {
  const auto at = [&](std::uint64_t i, std::uint64_t p) { return a[d.transa ? i * lda + p : p * lda + i]; };
  for (std::uint64_t i = 0; i < s.m; ++i) {
    const auto* bias = static_cast<const float*>(d.bias);
    for (std::uint64_t j = 0; j < s.n; ++j) {
      double sum = 0;
      for (std::uint64_t p = 0; p < s.k; ++p)
        sum += double{rounded(at(i, p), d.compute)} * rounded(b[d.transb ? p * ldb + j : j * ldb + p], d.compute);
      if (beta != 0) sum += double{beta} * c[j * ldc + i];
      if ((d.epilogue & 4) != 0) sum += bias[i];
      c[j * ldc + i] = static_cast<float>((d.epilogue & 32) != 0 ? gelu(sum) : sum);
    }
    if (d.epilogue != 256) continue;
    double sum = 0;
    for (std::uint64_t p = 0; p < s.k; ++p) sum += at(i, p);
    static_cast<float*>(d.bias)[i] = static_cast<float>(sum);
  }
}

}  // namespace

#define STANDIN extern "C" __attribute__((visibility("default")))

STANDIN std::int64_t standin_matmuls() { return matmuls; }
STANDIN std::int64_t standin_heuristics() { return heuristics; }
STANDIN std::int64_t standin_gradients() { return gradients; }

STANDIN std::size_t cublasLtGetVersion() {
  const char* version = std::getenv("STANDIN_VERSION");
  return version == nullptr ? 130002 : std::strtoull(version, nullptr, 10);
}
STANDIN const char* cublasLtGetStatusName(int status) {
  return status == 13 ? "CUBLAS_STATUS_EXECUTION_FAILED" : status == kInvalid ? "CUBLAS_STATUS_INVALID_VALUE" : "OTHER";
}
STANDIN int cublasLtCreate(void** made) {
  *made = &handle;
  return wanted("Create");
}
STANDIN int cublasLtMatmulDescCreate(Desc** made, int compute, int scale) {
  *made = new Desc{compute, scale};
  return wanted("MatmulDescCreate");
}
STANDIN int cublasLtMatmulDescDestroy(Desc* desc) {
  delete desc;
  return kSuccess;
}
STANDIN int cublasLtMatmulDescSetAttribute(Desc* desc, int attribute, const void* value, std::size_t size) {
  switch (attribute) {
    case 3:
      return take(desc->transa, value, size);
    case 4:
      return take(desc->transb, value, size);
    case 7:
      return take(desc->epilogue, value, size);
    case 8:
      return take(desc->bias, value, size);
  }
  return refuse("an attribute of a product that isn't used");
}
STANDIN int cublasLtMatrixLayoutCreate(Layout** made, int type, std::uint64_t rows, std::uint64_t columns,
                                       std::int64_t ld) {
  *made = new Layout{type, rows, columns, ld};
  return wanted("MatrixLayoutCreate");
}
STANDIN int cublasLtMatrixLayoutDestroy(Layout* layout) {
  delete layout;
  return kSuccess;
}
STANDIN int cublasLtMatmulPreferenceCreate(Preference** made) {
  *made = new Preference;
  return wanted("MatmulPreferenceCreate");
}
STANDIN int cublasLtMatmulPreferenceDestroy(Preference* preference) {
  delete preference;
  return kSuccess;
}
STANDIN int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value,
                                                 std::size_t size) {
  if (attribute == 1) return take(preference->workspace, value, size);
  if (attribute == 3) return take(preference->reduction, value, size);
  if (attribute >= 5 && attribute <= 8) return take(preference->alignment[attribute - 5], value, size);
  return refuse("an attribute of a preference that isn't used");
}

// Its one algorithm wants a workspace of 1 KB, and remembers the alignments that it was promised.
STANDIN int cublasLtMatmulAlgoGetHeuristic(void* given, const Desc* desc, const Layout* a, const Layout* b,
                                           const Layout* c, const Layout* d, const Preference* preference, int asked,
                                           Result* results, int* count) {
  ++heuristics;
  *count = 0;
  Sizes sizes{};
  if (const int status = wanted("MatmulAlgoGetHeuristic")) return status;
  if (given != &handle || asked < 1) return refuse("another handle, or no room for results");
  if (const int status = check_shapes(*desc, *a, *b, *c, sizes)) return status;
  if (c->ld != d->ld || c->rows != d->rows) return refuse("C and D of different layouts");
  if ((preference->reduction & 1) != 0) return refuse("sums in place, whose order isn't fixed, are allowed");
  if (preference->workspace < 1024) return kNotSupported;
  *results = {};
  results->algo.data[0] = kAlgoMark + desc->epilogue;
  for (int i = 0; i < 4; ++i) results->algo.data[i + 1] = preference->alignment[i];
  results->algo.data[5] = sizes.m * 1000003 + sizes.n * 1009 + sizes.k;
  results->workspace = 1024;
  *count = 1;
  return kSuccess;
}

#ifndef STANDIN_INCOMPLETE
STANDIN int cublasLtMatmul(void* given, const Desc* desc, const float* alpha, const float* a, const Layout* la,
                           const float* b, const Layout* lb, const float* beta, const float* c, const Layout* lc,
                           float* d, const Layout* ld, const Algo* algo, void* workspace, std::size_t bytes,
                           void* /*stream*/) {
  Sizes sizes{};
  if (const int status = wanted("Matmul")) return status;
  if (given != &handle || *alpha != 1.f || (*beta != 0.f && *beta != 1.f)) return refuse("another handle or factor");
  if (const int status = check_shapes(*desc, *la, *lb, *lc, sizes)) return status;
  if (c != d || lc->ld != ld->ld) return refuse("a product that isn't in place");
  if (algo->data[0] != kAlgoMark + desc->epilogue || algo->data[5] != sizes.m * 1000003 + sizes.n * 1009 + sizes.k)
    return refuse("an algorithm for another product");
  const void* pointers[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i)
    if (reinterpret_cast<std::uintptr_t>(pointers[i]) % algo->data[i + 1] != 0)
      return refuse("alignment promised, not kept");
  if (bytes < 1024 || workspace == nullptr || reinterpret_cast<std::uintptr_t>(workspace) % 16 != 0)
    return refuse("too little workspace");
  std::memset(workspace, 0x7f, bytes);
  ++matmuls;
  gradients += desc->epilogue == 256;
  multiply(*desc, sizes, a, la->ld, b, lb->ld, *beta, d, ld->ld);
  return kSuccess;
}
#endif
