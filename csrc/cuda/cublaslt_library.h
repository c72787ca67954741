// cuBLASLt as a library that may or may not be there: found and opened at run time, on first use.
#pragma once
#include <string>
#include <vector>

#include "cuda/cublaslt_api.h"

namespace fnn::cuda::lt {

struct Library {
#define FNN_MEMBER(name, result, arguments) result(*name) arguments = nullptr;
  FNN_EACH_CUBLASLT_FUNCTION(FNN_MEMBER)
#undef FNN_MEMBER
  std::string path;  // empty: none is used
  std::string why;   // then, the reason

  explicit operator bool() const { return !path.empty(); }
  // Throws that a call failed, with the name of its status.
  void check(Status status, const char* call) const;
};

// The process's library. FASTNN_CUBLASLT=0 means none; a path there means that file and no other. Without it: what the
// process has loaded already (of PyTorch or CuPy), what the system finds, what lies in the folders.
const Library& library();

// Folders to look in, of NVIDIA's wheels; has no effect after the first call of library().
void set_folders(const std::vector<std::string>& folders);

}  // namespace fnn::cuda::lt
