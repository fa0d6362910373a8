#pragma once
#include <span>

#include "device/context.hpp"
#include "device/view.hpp"
#include "kernels/cost.hpp"

namespace espalier::kernels {

/// out = in converted to out's dtype (round to nearest even). Shapes equal.
void cast(device::Context& context, device::View out, device::ConstView in);
/// All elements = 0.
void set_zero(device::Context& context, device::View out);
/// out (n, 1) f64: row i = sum of squares of in[i], an f32 view of n, in an order that does not
/// depend on the thread count nor on the other views. On a GPU two launches for up to
/// kMaxSquareSums views.
void sums_of_squares(device::Context& context, device::View out,
                     std::span<const device::ConstView> in);
constexpr int kMaxSquareSums = 64;  ///< what 4 KiB of kernel arguments hold

inline Cost cost_of_cast(const device::ConstView& out, const device::ConstView& in) {
  return {.bytes = bytes_of(out) + bytes_of(in)};
}

inline Cost cost_of_set_zero(const device::ConstView& out) {
  return {.bytes = bytes_of(out)};
}

inline Cost cost_of_sum_of_squares(const device::ConstView& in) {
  return {.flops = 2.0 * num_elements_of(in), .bytes = bytes_of(in)};
}

}  // namespace espalier::kernels
