#include "kernels/moe/grouped_product.hpp"

#include <algorithm>

#include "kernels/backends.hpp"
#include "kernels/moe/grouped_shapes.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

/// body(group, first row, number of rows); what the products cost is told by the caller.
template <class Body>
void for_groups(device::Context& context, std::span<const std::int64_t> offsets, Body&& body) {
  context.gemm().count_in(nullptr);
  for (std::size_t g = 0; g + 1 < offsets.size(); ++g)
    body(static_cast<std::int64_t>(g), offsets[g], offsets[g + 1] - offsets[g]);
  context.gemm().count_in(&context.profiler());
}

}  // namespace

void grouped_forward(device::Context& context, const GroupedForward& a) {
  check_shapes(a);
  for_groups(context, a.offsets, [&](std::int64_t g, std::int64_t first, std::int64_t rows) {
    context.gemm().forward(a.y.row_range(first, rows), a.x.row_range(first, rows),
                           a.w.row_range(g * a.y.cols, a.y.cols));
  });
}

void grouped_backward_input(device::Context& context, const GroupedBackwardInput& a) {
  check_shapes(a);
  for_groups(context, a.offsets, [&](std::int64_t g, std::int64_t first, std::int64_t rows) {
    context.gemm().backward_input(a.dx.row_range(first, rows), a.dy.row_range(first, rows),
                                  a.w.row_range(g * a.dy.cols, a.dy.cols));
  });
}

void grouped_backward_weight(device::Context& context, const GroupedBackwardWeight& a) {
  check_shapes(a);
  for_groups(context, a.offsets, [&](std::int64_t g, std::int64_t first, std::int64_t rows) {
    const device::View dw = a.dw.row_range(g * a.dy.cols, a.dy.cols);
    if (rows > 0) {
      context.gemm().backward_weight(dw, a.dy.row_range(first, rows), a.x.row_range(first, rows),
                                     a.output);
    } else if (a.output == device::Output::replace) {
      for (std::int64_t n = 0; n < dw.rows; ++n) std::fill_n(dw.as<float>(n), dw.cols, 0.0f);
    }
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
