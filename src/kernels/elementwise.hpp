#pragma once
#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// out = in converted to out's dtype (round to nearest even). Shapes equal.
void cast(device::Context& context, device::View out, device::ConstView in);
/// All elements = 0.
void set_zero(device::Context& context, device::View out);
/// out (1, 1) f64 = sum of squares of an f32 view, in an order that does not depend on the thread
/// count.
void sum_of_squares(device::Context& context, device::View out, device::ConstView in);

}  // namespace espalier::kernels
