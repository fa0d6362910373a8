#pragma once
// Gradients of tables whose rows were looked up: table[id] += rows of that id. The ids are sorted
// first, so that each row of the table has one owner, which adds in the rows' order: no atomics,
// and the same sums as the host's.
#include <cstdint>

#include "device/queue.hpp"
#include "device/view.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// Floats of workspace for each id: the sort has two places of 8 bytes.
constexpr std::int64_t kSortElements = 4;

/// d_table[ids[t] - first_row] += d_rows[t] for t = 0, 1, ...; ids outside of the table are left
/// out. d_table f32, d_rows f32 or bf16, ids on the device.
void add_rows_to_table(const device::Queue& queue, const device::View& d_table,
                       const device::ConstView& d_rows, const std::uint32_t* ids,
                       std::int64_t first_row);

}  // namespace espalier::kernels::ESPALIER_GPU
