#include "base/simd/level.hpp"
#include "check/job.hpp"
#include "device/gpu.hpp"

namespace espalier::check {
namespace {

/// As far as this rank can know before the devices are chosen.
bool computes_on_host(const config::DeviceParameters& parameters) {
  if (parameters.backend != "auto") return parameters.backend == "host";
  try {
    return device::Gpu::count(device::Backend::cuda) == 0;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::vector<Finding> check_processor(Job& job) {
  std::vector<Finding> findings;
  const simd::Level level = simd::level();
  if (job.simd_shortfall.empty())
    findings.push_back(ok("SIMD level", fmt::format("{} on every rank", simd::name_of(level))));
  else
    findings.push_back(warning("SIMD level", job.simd_shortfall,
                               "leave the older nodes out (sbatch --constraint), or go on: the "
                               "results do not suffer"));
#if defined(__x86_64__)
  if (computes_on_host(job.parameters.device) && job.parameters.training.dtype == "bfloat16" &&
      level < simd::Level::avx512_bf16)
    findings.push_back(
        warning("bfloat16",
                fmt::format("at SIMD level {} there are no products of bf16: operands are widened "
                            "to fp32, which is no faster than training.dtype = \"float32\"",
                            simd::name_of(level)),
                "nodes with AVX-512 BF16 (AMD Zen 4, Intel Cooper Lake and later), or "
                "training.dtype = \"float32\" where its memory is there"));
#endif
  return findings;
}

}  // namespace espalier::check
