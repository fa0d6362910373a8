#pragma once
#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// Learned position embedding, added to the token embedding: x_t += table[position_t].
/// Source: Radford et al. 2019; transformers modeling_gpt2.py (wpe). Cost: 6H bytes per token
/// (bf16).
struct PositionsForward {
  device::ConstView position_ids;  ///< (1, T_loc) i32, rows of the table
  device::ConstView table;         ///< (num_positions, H)
  device::View x;                  ///< (T_loc, H) dtype of the table, updated in place
};
void positions_forward(device::Context& context, const PositionsForward& a);

/// d_table[p] += sum of dx over the tokens at position p, in token order. No atomics: a thread owns
/// columns, and goes through the tokens in order.
struct PositionsBackward {
  device::ConstView position_ids;  ///< (1, T_loc) i32
  device::ConstView dx;            ///< (T_loc, H)
  device::View d_table;            ///< (num_positions, H) f32, accumulated
};
void positions_backward(device::Context& context, const PositionsBackward& a);

}  // namespace espalier::kernels
