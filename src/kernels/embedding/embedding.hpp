#pragma once
#include <cstdint>

#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// Rows of a vocabulary-parallel embedding: this rank holds ids first_row .. first_row + table.rows
/// - 1. Tokens of other ranks give zero rows; the caller sums over the tensor group.
struct EmbeddingForward {
  device::ConstView tokens;  ///< (1, T) u32
  device::ConstView table;   ///< (V_loc, H)
  std::int64_t first_row;
  device::View out;  ///< (T, H)
};
void embedding_forward(device::Context& context, const EmbeddingForward& a);

/// d_table[id] += sum of d_out rows of that id, in token order. No atomics: each row has one owner.
struct EmbeddingBackward {
  device::ConstView tokens;  ///< (1, T) u32
  device::ConstView d_out;   ///< (T, H)
  std::int64_t first_row;
  device::View d_table;  ///< (V_loc, H) f32, accumulated
  device::View order;    ///< (1, T) i32 scratch of the host; a GPU sorts in its workspace
};
void embedding_backward(device::Context& context, const EmbeddingBackward& a);

}  // namespace espalier::kernels
