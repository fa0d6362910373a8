#pragma once
// What a call of an operator must do at least, whatever the kernel and wherever it runs: the floor
// that its time is measured against. Bytes count every operand once, read or written; what a kernel
// reads twice or recomputes is not counted. Vectors that all rows share are left out where rows
// are many.
#include <span>

#include "kernels/operator_list.hpp"

namespace espalier::kernels {

struct Cost {
  double flops = 0.0;
  double bytes = 0.0;
};

#define ESPALIER_DECLARE(function, Arguments) Cost cost_of(const Arguments& a);
ESPALIER_OPERATORS(ESPALIER_DECLARE)
#undef ESPALIER_DECLARE

Cost cost_of_cast(const device::ConstView& out, const device::ConstView& in);
Cost cost_of_set_zero(const device::ConstView& out);
Cost cost_of_sum_of_squares(const device::ConstView& in);
Cost cost_of_add_losses(const device::ConstView& losses);
Cost cost_of_adamw(std::span<const AdamW> rectangles);

}  // namespace espalier::kernels
