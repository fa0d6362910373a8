#pragma once
#include <cstdint>
#include <span>

#include "device/view.hpp"

namespace espalier::parallel {

/// What Communicator::exchange_rows asks of its arguments on rank `rank` of `size`; throws Error
/// (internal) that names what does not fit. The other ranks' arguments are not looked at.
void check_row_exchange(const device::View& out, const device::ConstView& in,
                        std::span<const std::int64_t> send_rows,
                        std::span<const std::int64_t> receive_rows, int rank, int size);
/// The rows of all ranks together.
std::int64_t sum_of_rows(std::span<const std::int64_t> rows);

}  // namespace espalier::parallel
