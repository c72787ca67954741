#include <dlfcn.h>

#include <cstdlib>

#include "base/error.h"
#include "cuda/cublaslt_library.h"

namespace fnn::cuda::lt {
namespace {

// Newest first. The interface that is used is the same in both.
constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12"};

std::vector<std::string>& folders() {
  static std::vector<std::string> list;
  return list;
}

// A library with all functions, or one without a path that says why not; empty if there is no such file.
Library open(const std::string& path, int flags) {
  Library found;
  void* const file = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL | flags);
  if (file == nullptr) {
    const char* error = dlerror();
    found.why = error != nullptr ? error : "not loaded";
    return found;
  }
#define FNN_LOAD(name, result, arguments)                                             \
  found.name = reinterpret_cast<decltype(found.name)>(dlsym(file, "cublasLt" #name)); \
  if (found.name == nullptr) found.why = path + " lacks cublasLt" #name;
  FNN_EACH_CUBLASLT_FUNCTION(FNN_LOAD)
#undef FNN_LOAD
  if (!found.why.empty()) return found;
  const std::size_t version = found.GetVersion(), major = version / 10000;
  if (major != 12 && major != 13) {
    found.why = path + " is of version " + std::to_string(version) + ", not 12 or 13";
    return found;
  }
  found.path = path;
  return found;
}

Library search() {
  const char* wanted = std::getenv("FASTNN_CUBLASLT");
  Library found;
  if (wanted != nullptr && std::string(wanted) == "0") {
    found.why = "FASTNN_CUBLASLT is 0";
    return found;
  }
  if (wanted != nullptr && *wanted != '\0') {
    found = open(wanted, 0);
    if (!found)
      throw Error(std::string("FASTNN_CUBLASLT must be 0 or the path of libcublasLt.so, got '") + wanted +
                  "': " + found.why);
    return found;
  }
  std::string why;
  const auto found_at = [&](const std::string& path, int flags) {
    found = open(path, flags);
    if (!found && flags == 0) why += (why.empty() ? "" : "; ") + found.why;
    return static_cast<bool>(found);
  };
  for (const char* name : kNames)
    if (found_at(name, RTLD_NOLOAD)) return found;
  for (const std::string& folder : folders())
    for (const char* name : kNames)
      if (found_at(folder + "/" + name, 0)) return found;
  for (const char* name : kNames)
    if (found_at(name, 0)) return found;
  found = {};
  found.why = why;
  return found;
}

}  // namespace

void Library::check(Status status, const char* call) const {
  if (status != SUCCESS) throw Error(std::string("cuBLASLt: ") + call + " failed: " + GetStatusName(status));
}

const Library& library() {
  static const Library only = search();
  return only;
}

void set_folders(const std::vector<std::string>& list) { folders() = list; }

}  // namespace fnn::cuda::lt
