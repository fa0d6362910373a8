#include "commands/build_info.hpp"

#include <fmt/core.h>

#include "base/simd/level.hpp"
#include "espalier_revision.hpp"  // generated
#include "parallel/comm/session.hpp"

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

std::string simd_levels_here() {
  std::string levels;
  for (const simd::Level level : simd::supported_levels())
    levels += fmt::format("{}{}", levels.empty() ? "" : ", ", simd::name_of(level));
  return levels + " on this processor";
}

}  // namespace espalier::commands
