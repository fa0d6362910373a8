#include "kernels/moe/grouped_provider.hpp"

#include <fmt/core.h>

namespace espalier::kernels {
namespace {

using device::Backend;

constexpr int kHopper = 90;

std::string missing_for_tensor_cores(DType dtype, std::int64_t hidden, std::int64_t expert_size) {
  if (dtype != DType::bf16) return fmt::format("bfloat16, not {}", name_of(dtype));
  constexpr std::int64_t kElements = 8;  // in 16 bytes
  if (hidden % kElements == 0 && expert_size % kElements == 0) return "";
  return fmt::format("hidden and expert sizes that 8 divides, not {} and {}", hidden, expert_size);
}

/// Of the program, for the device that is here.
bool lacks_warpgroup_code() {
#ifdef ESPALIER_HAS_CUDA
  static const bool lacks =
      device::Gpu::first_compute_capability(device::Backend::cuda) == kHopper &&
      !cuda::has_grouped(GroupedProvider::wgmma);
  return lacks;
#else
  return false;
#endif
}

Cost cost_of(const GroupedProblem& a) {
  switch (a.kind) {
    case GroupedKind::forward:
      return kernels::cost_of(GroupedForward{a.left, a.right, a.offsets, a.out});
    case GroupedKind::backward_input:
      return kernels::cost_of(GroupedBackwardInput{a.left, a.right, a.offsets, a.out});
    case GroupedKind::backward_weight:
      break;
  }
  return kernels::cost_of(
      GroupedBackwardWeight{a.left, a.right, a.offsets, a.out,
                            a.accumulate ? device::Output::accumulate : device::Output::replace});
}

}  // namespace

std::string_view name_of(GroupedProvider provider) {
  switch (provider) {
    case GroupedProvider::reference:
      return "reference";
    case GroupedProvider::mma:
      return "mma";
    case GroupedProvider::wgmma:
      break;
  }
  return "wgmma";
}

bool has_grouped(device::Context& context, GroupedProvider provider) {
  switch (context.backend()) {
    case Backend::host:
      return false;
    case Backend::cuda:
#ifdef ESPALIER_HAS_CUDA
      return cuda::has_grouped(provider);
#else
      return false;
#endif
    case Backend::emulated:
      break;
  }
  return emulated::has_grouped(provider);
}

// As multiply of grouped_product.cu decides.
std::string describe_grouped_choice(DType dtype, std::int64_t hidden, std::int64_t expert_size,
                                    int compute_capability) {
  if (const std::string missing = missing_for_tensor_cores(dtype, hidden, expert_size);
      !missing.empty())
    return fmt::format("{}; {} needs {}", name_of(GroupedProvider::reference),
                       name_of(GroupedProvider::mma), missing);
  if (compute_capability != kHopper) return std::string(name_of(GroupedProvider::mma));
  if (!lacks_warpgroup_code()) return std::string(name_of(GroupedProvider::wgmma));
  return fmt::format("{}; {} needs kernels that are compiled for 90a",
                     name_of(GroupedProvider::mma), name_of(GroupedProvider::wgmma));
}

void grouped_product(device::Context& context, GroupedProvider provider, const GroupedProblem& a) {
  ESPALIER_ASSERT(has_grouped(context, provider), "grouped product by {}", name_of(provider));
  if (context.backend() == Backend::emulated)
    emulated::grouped_product(context.queue(), provider, a);
#ifdef ESPALIER_HAS_CUDA
  else
    cuda::grouped_product(context.queue(), provider, a);
#endif
  const Cost cost = cost_of(a);
  context.profiler().add_cost({"grouped_product"}, cost.flops, cost.bytes);
}

}  // namespace espalier::kernels
