#pragma once
// What gpu.cpp chooses from.
#include <memory>
#include <string>

#include "base/error.hpp"
#include "device/gpu.hpp"

namespace espalier::device {

std::shared_ptr<Gpu> open_emulated_gpu(int ordinal);

// gpu_cuda.cpp, or gpu_without_cuda.cpp in a program that is built without it.
int num_cuda_gpus();
std::string why_no_cuda_gpu();
std::shared_ptr<Gpu> open_cuda_gpu(int ordinal);

}  // namespace espalier::device
