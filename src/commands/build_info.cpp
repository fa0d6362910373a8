#include "commands/build_info.hpp"

#include <fmt/core.h>

#include "espalier_revision.hpp"  // generated
#include "parallel/session.hpp"

namespace espalier::commands {

std::string version_line() {
  return fmt::format("espalier {} ({})", ESPALIER_VERSION, kRevision);
}

std::string build_description() {
  return fmt::format(
      "{}\n"
      "compiler  {}\n"
      "MPI       {}\n"
      "HDF5      {}\n"
      "oneDNN    {}\n"
      "Kokkos    {}\n"
      "CUDA      {}",
      version_line(), ESPALIER_COMPILER, parallel::MpiSession::library_version(),
      ESPALIER_HDF5_VERSION, ESPALIER_ONEDNN_VERSION, ESPALIER_KOKKOS_VERSION,
      ESPALIER_CUDA_KERNELS);
}

}  // namespace espalier::commands
