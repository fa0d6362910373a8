#include "kernels/attention/cudnn_loading.hpp"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <string>
#include <string_view>
#include <unordered_map>

namespace espalier::kernels::cudnn_loading {
namespace {

constexpr std::string_view kRuntime = "libcudart";
int runtime_inside;  // its address stands for the runtime

}  // namespace

void* open(const char* name, int mode) {
  if (std::string_view(name).substr(0, kRuntime.size()) != kRuntime) return ::dlopen(name, mode);
  static const std::string first = name;
  return first == name ? &runtime_inside : nullptr;  // several versions are tried
}

void* find(void* library, const char* name) {
  if (library != &runtime_inside) return ::dlsym(library, name);
  static const std::unordered_map<std::string_view, void*> functions{
      {"cudaGetDevice", reinterpret_cast<void*>(&cudaGetDevice)},
      {"cudaGetDeviceProperties",
       reinterpret_cast<void*>(
           static_cast<cudaError_t (*)(cudaDeviceProp*, int)>(&cudaGetDeviceProperties))},
      {"cudaGetErrorString", reinterpret_cast<void*>(&cudaGetErrorString)},
      {"cudaMemcpyAsync",
       reinterpret_cast<void*>(
           static_cast<cudaError_t (*)(void*, const void*, std::size_t, cudaMemcpyKind,
                                       cudaStream_t)>(&cudaMemcpyAsync))},
      {"cudaMemsetAsync",
       reinterpret_cast<void*>(
           static_cast<cudaError_t (*)(void*, int, std::size_t, cudaStream_t)>(&cudaMemsetAsync))}};
  const auto found = functions.find(name);
  return found == functions.end() ? nullptr : found->second;
}

}  // namespace espalier::kernels::cudnn_loading
