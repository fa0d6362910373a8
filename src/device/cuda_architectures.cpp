// Apart from gpu_cuda.cpp, so that a test with an imitated GPU has a definition of its own.
#include "device/gpu_backends.hpp"

namespace espalier::device {

std::string_view cuda_architectures() {
  return ESPALIER_CUDA_ARCHITECTURES;
}

}  // namespace espalier::device
