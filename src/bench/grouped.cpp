#include "bench/grouped.hpp"

#include "kernels/moe/grouped_provider.hpp"

namespace espalier::bench {
namespace {

using device::ConstView;
using device::Output;
using device::View;
using kernels::GroupedKind;
using kernels::GroupedProvider;

/// Every row with the weight of the first group.
void multiply_densely(device::Context& context, const kernels::GroupedProblem& a) {
  const std::int64_t n = a.rows_of_weight();
  switch (a.kind) {
    case GroupedKind::forward:
      return context.gemm().forward(a.out, a.left, a.right.row_range(0, n));
    case GroupedKind::backward_input:
      return context.gemm().backward_input(a.out, a.left, a.right.row_range(0, n));
    case GroupedKind::backward_weight:
      return context.gemm().backward_weight(a.out.row_range(0, n), a.left, a.right,
                                            a.accumulate ? Output::accumulate : Output::replace);
  }
}

}  // namespace

void time_grouped(OperatorTimer& timer, device::Context& context,
                  const kernels::GroupedProblem& problem, const std::string& name) {
  if (context.on_host()) return;
  const std::size_t num_rows = timer.rows.size();
  if (problem.left.dtype == DType::bf16)
    for (const auto provider : {GroupedProvider::mma, GroupedProvider::wgmma})
      if (kernels::has_grouped(context, provider))
        timer.measure(fmt::format("{}, {}", name, kernels::name_of(provider)),
                      [&] { kernels::grouped_product(context, provider, problem); });
  timer.measure(name + ", dense", [&] { multiply_densely(context, problem); });
  for (std::size_t i = num_rows; i < timer.rows.size(); ++i) timer.rows[i].is_alternative = true;
}

}  // namespace espalier::bench
