#pragma once
// Grouped products by a kernel that is named: benchmarks compare them, training takes the best.
#include <string_view>

#include "device/context.hpp"
#include "kernels/moe/grouped_shapes.hpp"

namespace espalier::kernels {

/// Of the operands, reference takes all, mma and wgmma take bf16 in rows of whole 16 bytes.
enum class GroupedProvider { reference, mma, wgmma };

/// "reference", "mma", "wgmma".
std::string_view name_of(GroupedProvider provider);

/// Whether the context's GPU has the provider's instructions, and the program code for them. The
/// emulated GPU has those of all; a host has none of the providers.
bool has_grouped(device::Context& context, GroupedProvider provider);

/// One of the three products (kernels/moe/grouped_product.hpp) by `provider`, which the context
/// must have. Costs what the operator costs.
void grouped_product(device::Context& context, GroupedProvider provider, const GroupedProblem& a);

#define ESPALIER_DECLARE                                                     \
  bool has_grouped(GroupedProvider provider);                                \
  void grouped_product(const device::Queue& queue, GroupedProvider provider, \
                       const GroupedProblem& a);
namespace cuda {
ESPALIER_DECLARE
}
namespace emulated {
ESPALIER_DECLARE
}
#undef ESPALIER_DECLARE

}  // namespace espalier::kernels
