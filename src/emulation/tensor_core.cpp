#include "emulation/tensor_core.hpp"

#include <bit>

namespace espalier::emulation {
namespace {

/// The lower or upper bf16 of a register.
float half_of(std::uint32_t word, int upper) {
  return std::bit_cast<float>(upper != 0 ? word & 0xFFFF0000u : word << 16);
}

/// Element (row, k) of a: register 0 holds rows 0..7 and k 0..7, register 1 rows 8.., register 2
/// k 8.., register 3 both.
float element_a(const std::array<Operands, device::kWarpSize>& warp, int row, int k) {
  const auto lane = static_cast<std::size_t>(row % 8 * 4 + k % 8 / 2);
  const auto reg = static_cast<std::size_t>(row / 8 + k / 8 * 2);
  return half_of(warp[lane].a[reg], k % 2);
}

/// Element (k, col) of b: register 0 holds k 0..7, register 1 k 8..15.
float element_b(const std::array<Operands, device::kWarpSize>& warp, int k, int col) {
  const auto lane = static_cast<std::size_t>(col * 4 + k % 8 / 2);
  return half_of(warp[lane].b[static_cast<std::size_t>(k / 8)], k % 2);
}

}  // namespace

device::Words<4> matrices_of_lane(const MatrixRows& rows, int lane, bool transposed) {
  device::Words<4> result;
  const int row = lane / 4;
  for (int m = 0; m < 4; ++m) {
    std::uint32_t halves[2];
    for (int i = 0; i < 2; ++i) {
      const int col = lane % 4 * 2 + i;
      const auto source = static_cast<std::size_t>(8 * m + (transposed ? col : row));
      halves[i] = rows[source][static_cast<std::size_t>(transposed ? row : col)];
    }
    result.at[m] = halves[0] | halves[1] << 16;
  }
  return result;
}

void multiply_add(float (&d)[4], const std::array<Operands, device::kWarpSize>& warp, int lane) {
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8;
    const int col = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) d[i] += element_a(warp, row, k) * element_b(warp, k, col);
  }
}

}  // namespace espalier::emulation
