#include "device/cublaslt.hpp"

#include <dlfcn.h>
#include <fmt/core.h>

#include "base/error.hpp"

namespace espalier::device {

const CublasLt& CublasLt::loaded() {
  static const CublasLt library;
  return library;
}

std::string CublasLt::describe() const {
  const std::size_t version = GetVersion();
  return fmt::format("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

CublasLt::CublasLt() {
  void* handle = nullptr;
  std::string tried;
  for (const char* name :
       {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so.13",
        "/usr/local/cuda/lib64/libcublasLt.so.12"}) {
    handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) break;
    const char* why = dlerror();
    tried += fmt::format("\n  {}", why != nullptr ? why : name);
  }
  require(handle != nullptr, ExitStatus::bad_configuration,
          "cuBLASLt is not found; install CUDA's cuBLAS 12 or 13 or name its folder in "
          "LD_LIBRARY_PATH, or use device.backend = \"host\". Tried:{}",
          tried);
#define ESPALIER_LOAD(name)                                                 \
  name = reinterpret_cast<decltype(name)>(dlsym(handle, "cublasLt" #name)); \
  require(name != nullptr, ExitStatus::bad_configuration,                   \
          "cuBLASLt has no function cublasLt{}; install version 12 or 13", #name);
  ESPALIER_CUBLASLT_FUNCTIONS(ESPALIER_LOAD)
#undef ESPALIER_LOAD
}

}  // namespace espalier::device
