#include "train/device_choice.hpp"

#include "base/error.hpp"

namespace espalier::train {

using device::Backend;
using device::Gpu;

std::shared_ptr<Gpu> choose_gpu(parallel::MpiSession& session,
                                const config::DeviceParameters& parameters) {
  if (parameters.backend == "host") return nullptr;
  if (parameters.backend == "emulated") return Gpu::open(Backend::emulated, session.rank());
  if (parameters.backend == "auto" && Gpu::count(Backend::cuda) == 0) return nullptr;
  return Gpu::open(Backend::cuda, session.rank());
}

device::Backend backend_of(const std::shared_ptr<Gpu>& gpu) {
  return gpu ? gpu->backend() : Backend::host;
}

parallel::CollectiveLibrary collective_library(const config::DeviceParameters& parameters) {
  if (parameters.communicator == "mpi") return parallel::CollectiveLibrary::mpi;
  if (parameters.communicator == "nccl") return parallel::CollectiveLibrary::nccl;
  return parallel::CollectiveLibrary::automatic;
}

std::string describe_devices(parallel::MpiSession&, const std::shared_ptr<Gpu>& gpu) {
  return gpu ? gpu->description().name : "host";
}

}  // namespace espalier::train
