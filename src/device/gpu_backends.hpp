#pragma once
// What gpu.cpp chooses from.
#include <memory>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "device/gpu.hpp"

namespace espalier::device {

std::shared_ptr<Gpu> open_emulated_gpu(int ordinal);

// gpu_cuda.cpp, or gpu_without_cuda.cpp in a program that is built without it.
int num_cuda_gpus();
std::string why_no_cuda_gpu();
bool has_cuda_driver();
std::string uuid_of_cuda_gpu(int ordinal);
int compute_capability_of_cuda_gpu(int ordinal);
std::string why_no_code_for_cuda_gpu(int ordinal);
std::string_view cuda_architectures();  ///< that the kernels are compiled for; empty without CUDA
std::shared_ptr<Gpu> open_cuda_gpu(int ordinal);

/// Whether kernels compiled for `architectures` ("90a 100a") run on a GPU of this compute
/// capability (90, 100): "90a" is for 9.0 alone, "80" for 8.0 to 8.9, "100" and
/// "100f" for 10.0 to 10.9.
bool has_code_for(std::string_view architectures, int compute_capability);
/// What to compile for, for such a GPU: "90a", "100".
std::string architecture_for(int compute_capability);

}  // namespace espalier::device
