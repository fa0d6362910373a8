#include "kernels/moe/grouped_provider.hpp"

namespace espalier::kernels {
namespace {

using device::Backend;

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
