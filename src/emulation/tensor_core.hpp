#pragma once
// What ldmatrix and mma.sync do with the registers of a warp (PTX ISA, "Matrix Fragments for
// mma.m16n8k16" and "ldmatrix"). Each lane works out its own part from what all lanes brought.
#include <array>
#include <cstdint>

#include "base/dtype.hpp"
#include "device/launch_shape.hpp"
#include "device/words.hpp"

namespace espalier::emulation {

/// Eight bf16: a row of an 8 x 8 matrix, as the lane that named its address has read it.
using MatrixRow = std::array<std::uint16_t, 8>;
using MatrixRows = std::array<MatrixRow, device::kWarpSize>;

/// Four 8 x 8 matrices; lanes 8 m .. 8 m + 7 hold the rows of matrix m. Lane l gets elements
/// (l / 4, 2 (l % 4)) and the next of each; of the transposed matrices if `transposed`.
device::Words<4> matrices_of_lane(const MatrixRows& rows, int lane, bool transposed);

/// The fragments of one lane: a (16 x 16), b (16 x 8), both bf16.
struct Operands {
  std::array<std::uint32_t, 4> a;
  std::array<std::uint32_t, 2> b;
};

/// d (16 x 8) += a b for the four elements of d that the lane holds: (g, 2t), (g, 2t + 1),
/// (g + 8, 2t), (g + 8, 2t + 1) with g = lane / 4, t = lane % 4.
void multiply_add(float (&d)[4], const std::array<Operands, device::kWarpSize>& warp, int lane);

}  // namespace espalier::emulation
