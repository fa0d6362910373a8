#pragma once
// Grouped products by a kernel that is named: benchmarks compare them, training takes the best.
#include <string>
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

/// By which kernel training makes the products of experts, of rows of `hidden` and `expert_size`
/// elements, on a GPU of this compute capability (0: the emulated one), and what the one that it
/// would rather take needs: "wgmma", "reference; mma needs bfloat16, not float32". What code there
/// is asks the program itself where the device is here; elsewhere a plan is made, for a program
/// that is compiled for it.
std::string describe_grouped_choice(DType dtype, std::int64_t hidden, std::int64_t expert_size,
                                    int compute_capability);

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
