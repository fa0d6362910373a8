#include "device/gpu.hpp"

#include "device/gpu_backends.hpp"

namespace espalier::device {

std::string_view name_of(Backend backend) {
  switch (backend) {
    case Backend::host:
      return "host";
    case Backend::cuda:
      return "cuda";
    case Backend::emulated:
      return "emulated";
  }
  return "?";
}

int Gpu::count(Backend backend) {
  if (backend == Backend::emulated) return 1 << 20;
  return backend == Backend::cuda ? num_cuda_gpus() : 0;
}

std::string Gpu::why_none(Backend backend) {
  return backend == Backend::cuda ? why_no_cuda_gpu() : std::string();
}

std::shared_ptr<Gpu> Gpu::open(Backend backend, int ordinal) {
  if (backend == Backend::emulated) return open_emulated_gpu(ordinal);
  ESPALIER_ASSERT(backend == Backend::cuda, "the host is no GPU");
  require(
      count(backend) > 0, ExitStatus::bad_configuration,
      "device.backend = \"cuda\": {}. Use device.backend = \"host\", or run on a machine with a "
      "GPU",
      why_none(backend));
  require(ordinal >= 0 && ordinal < count(backend), ExitStatus::bad_configuration,
          "GPU {} is asked for, this process sees {}", ordinal, count(backend));
  return open_cuda_gpu(ordinal);
}

}  // namespace espalier::device
